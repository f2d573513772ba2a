"""A tagger: words and their characters, bidirectional recurrent layers, a score for each tag."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from dlx.layers import conv, crf, embedding, gru, linear, recurrent, scalar_mix
from dlx.models import bidirectional

CHARACTERS = ("conv", "gru", "none")  # How the characters of a word become a vector.
WINDOW = 3  # Characters in a window of the convolution.


def spelled(
    params: dict, table: Array, characters: Int[Array, "... C"], *, how: str
) -> Float[Array, "... D"]:
  """A vector of the characters of each word.

  "conv": the maximum over the windows of a convolution. "gru": the last states of a
  bidirectional GRU.

  Args:
    params: of the convolution, or of the GRU.
    table: the embeddings of characters.
    characters: ids, `(..., C)`, padded with 0.
    how: "conv" or "gru".
  """
  counts = (characters > 0).sum(-1)
  valid = (characters > 0)[..., None]
  x = embedding.lookup(table, characters.astype(jnp.int32))
  if how == "gru":
    x = x.reshape(-1, *x.shape[-2:])
    states, _ = recurrent.bidirectional(params, x, cell=gru, lengths=counts.reshape(-1))
    return jnp.concatenate(states, -1).reshape(*characters.shape[:-1], -1)
  x = jnp.where(valid, x, 0)
  x = conv.apply(params, x.reshape(-1, 1, *x.shape[-2:])).reshape(*x.shape[:-1], -1)
  return jax.nn.relu(jnp.where(valid, x, 0).max(-2))


class Tagger(nn.Module):
  """Scores of each tag for each word, and the transitions of a conditional random field.

  Attributes:
    num_words, num_characters: sizes of the vocabularies, with unknown and padding.
    num_tags: K.
    d_word: of a word's embedding.
    d_spelling: of the vector of a word's characters; a multiple of 2.
    d_hidden: H, of a layer's state in each direction.
    num_layers: of the bidirectional layers.
    cell: "rnn", "gru" or "lstm".
    characters: one of CHARACTERS.
    output: "softmax", each tag for itself, or "crf".
    dropout_rate: of the words' vectors, and after each layer.
    recurrent_dropout_rate: on the hidden kernels.
  """

  num_words: int
  num_characters: int
  num_tags: int
  d_word: int = 100
  d_spelling: int = 50
  d_hidden: int = 200
  num_layers: int = 1
  cell: str = "lstm"
  characters: str = "conv"
  output: str = "softmax"
  dropout_rate: float = 0.0
  recurrent_dropout_rate: float = 0.0

  @nn.compact
  def __call__(
      self,
      ids: Int[Array, "... T"],
      characters: Int[Array, "... T C"],
      lengths: Int[Array, "..."],
      states: Float[Array, "... L T F"] | None = None,
      *,
      train: bool = False,
  ) -> tuple[Float[Array, "... T K"], dict | None]:
    """(scores of the tags, params of dlx.layers.crf or None) of words.

    Args:
      ids: of words, `(..., T)`.
      characters: ids, `(..., T, C)`.
      lengths: the number of words, `(...)`.
      states: of L layers of another network, for the words; their learned mixture
        (dlx.layers.scalar_mix) stands beside a word's vectors.
      train: draw dropout masks, from the key "dropout".
    """
    table = self.param("words", embedding.init, self.num_words, self.d_word)
    x = embedding.lookup(table, ids)
    if self.characters != "none":
      x = jnp.concatenate([x, self._spelled(characters)], -1)
    if states is not None:
      mixture = self.param("mixture", scalar_mix.init, states.shape[-3])
      x = jnp.concatenate([x, scalar_mix.apply(mixture, states)], -1)
    x = bidirectional.layers(self, x, lengths, train=train)
    scores = linear.apply(self.param("output", linear.init, x.shape[-1], self.num_tags), x)
    chain = self.param("crf", crf.init, self.num_tags) if self.output == "crf" else None
    return scores, chain

  def _spelled(self, characters):
    d = max(8, self.d_spelling // 2)
    table = self.param("characters", embedding.init, self.num_characters, d)
    if self.characters == "gru":
      init = lambda rng: recurrent.init_bidirectional(  # noqa: E731
          rng, d, self.d_spelling // 2, cell=gru
      )
    else:
      init = lambda rng: conv.init(rng, (1, WINDOW), d, self.d_spelling)  # noqa: E731
    return spelled(self.param("spelling", init), table, characters, how=self.characters)


def negative_log_likelihood(
    scores: Float[Array, "... T K"],
    chain: dict | None,
    labels: Int[Array, "... T"],
    lengths: Int[Array, "..."],
) -> tuple[Float[Array, "..."], Int[Array, "..."]]:
  """(nats of each sentence, the number of words that they are of).

  A negative label, a tag that is not among the K ones, has no likelihood: its word is left out,
  and with a chain its sentence.

  Args:
    scores: of the tags, `(..., T, K)`.
    chain: params of dlx.layers.crf; None for tags that are independent given the words.
    labels: `(..., T)`.
    lengths: `(...)`.
  """
  valid = jnp.arange(scores.shape[-2]) < lengths[..., None]
  counted = valid & (labels >= 0)
  labels = jnp.where(counted, labels, 0)
  if chain is None:
    nats = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    return jnp.where(counted, nats, 0).sum(-1), counted.sum(-1)
  nats = crf.negative_log_likelihood(chain, scores, labels, lengths=lengths)
  whole = (counted == valid).all(-1)
  return jnp.where(whole, nats, 0), jnp.where(whole, lengths, 0)


def decode(
    scores: Float[Array, "... T K"], chain: dict | None, lengths: Int[Array, "..."]
) -> Int[Array, "... T"]:
  """The best tags: of the whole sentence with a chain, else of each word; 0 in the padding."""
  if chain is not None:
    return crf.viterbi(chain, scores, lengths=lengths)[0]
  valid = jnp.arange(scores.shape[-2]) < lengths[..., None]
  return jnp.where(valid, scores.argmax(-1), 0).astype(jnp.int32)
