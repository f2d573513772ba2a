"""A bidirectional language model of sentences, whose states are features of words in context.

A sentence w_1 ... w_n stands between two boundaries, w_0 and w_n+1. One stack of recurrent layers
reads it forward and predicts the next word, another one reads it backward and predicts the
previous one; they share the embedding E, which also gives the logits, E h + b.

  loss = - (sum_t log p(w_t | w_0 ... w_t-1) + sum_t log p(w_t | w_t+1 ... w_n+1)) / 2 (n + 1)

The forward sum is over w_1 ... w_n+1, the backward one over w_n ... w_0.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax

from dlx.layers import embedding, recurrent
from dlx.layers.dropout import dropout
from dlx.models import sampled_softmax


class Outputs(NamedTuple):
  """The result of `BidirectionalLM`.

  Attributes:
    layers: `(..., L + 1, T, 2D)`: of each word the embedding, twice, and the states
      [forward, backward] of each layer.
    last: the states of the last layer that predict w_1 ... w_T+1 and w_0 ... w_T, two arrays
      `(..., T + 1, D)`.
    forward: logits of w_1 ... w_T+1, `(..., T + 1, V + 1)`; V is the boundary.
    backward: logits of w_0 ... w_T.
  """

  layers: Float[Array, "... L T D"]
  last: tuple[Float[Array, "... T D"], Float[Array, "... T D"]]
  forward: Float[Array, "... T V"]
  backward: Float[Array, "... T V"]


def framed(
    ids: Int[Array, "... T"], lengths: Int[Array, "..."], boundary: int
) -> Int[Array, "... T"]:
  """The sentences between boundaries, `(..., T + 2)`."""
  ids = jnp.pad(ids, [(0, 0)] * (ids.ndim - 1) + [(1, 1)])
  position = jnp.arange(ids.shape[-1])
  ends = (position == 0) | (position == lengths[..., None] + 1)
  return jnp.where(ends, boundary, ids)


class BidirectionalLM(nn.Module):
  """The model; see the module's docstring.

  Attributes:
    num_words: V, with the unknown word.
    d: D, of the embedding and of each state.
    num_layers: L, of each direction.
    cell: "rnn", "gru" or "lstm".
    dropout_rate: of the embeddings, and after each layer.
    recurrent_dropout_rate: on the hidden kernels.
  """

  num_words: int
  d: int = 256
  num_layers: int = 2
  cell: str = "lstm"
  dropout_rate: float = 0.0
  recurrent_dropout_rate: float = 0.0

  @nn.compact
  def __call__(
      self, ids: Int[Array, "... T"], lengths: Int[Array, "..."], *, train: bool = False
  ) -> Outputs:
    """The states and the logits; with train, dropout is drawn from the key "dropout"."""
    table = self.param("words", embedding.init, self.num_words + 1, self.d)
    bias = self.param("bias", jax.nn.initializers.zeros, (self.num_words + 1,))
    x = embedding.lookup(table, framed(ids, lengths, self.num_words))
    forward = self._states("forward", x, lengths + 2, train)
    backward = self._states("backward", x, lengths + 2, train)
    layers = [jnp.concatenate(pair, -1)[..., 1:-1, :] for pair in zip(forward, backward)]
    last = forward[-1][..., :-1, :], backward[-1][..., 1:, :]
    logits = (embedding.logits(table, h) + bias for h in last)  # Not computed if not used.
    return Outputs(jnp.stack(layers, -3), last, *logits)

  def _states(self, name, x, lengths, train):
    """x and the states of each layer of a direction; with train, all of them dropped."""
    drop = lambda x, rate: (  # noqa: E731
        dropout(self.make_rng("dropout"), x, rate=rate) if train else x
    )
    cell, found = recurrent.CELLS[self.cell], [drop(x, self.dropout_rate)]
    for i in range(self.num_layers):
      layer = self.param(f"{name}_{i}", cell.init, self.d, self.d)
      layer = {**layer, "hidden": drop(layer["hidden"], self.recurrent_dropout_rate)}
      _, ys = cell.scan(layer, found[-1], lengths=lengths, reverse=name == "backward")
      found.append(drop(ys, self.dropout_rate))
    return found


def nats(
    outputs: Outputs, ids: Int[Array, "... T"], lengths: Int[Array, "..."]
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
  """(forward, backward): the nats of each sentence, of n + 1 predictions."""
  each = optax.softmax_cross_entropy_with_integer_labels
  return _sums(each, (outputs.forward, outputs.backward), ids, lengths, outputs.forward.shape[-1])


def sampled_nats(
    rng: jax.Array,
    params: dict,
    outputs: Outputs,
    ids: Int[Array, "... T"],
    lengths: Int[Array, "..."],
    count: int,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
  """`nats` estimated from `count` words drawn at random, as many for each direction."""
  table, size = params["words"]["embedding"], len(params["bias"])
  rngs = iter(jax.random.split(rng))

  def each(states, words):
    # The ids are those of words by descending frequency, but the boundary, the last one.
    ranks = sampled_softmax.draw(next(rngs), count, size)
    rows = (ranks - 1) % size
    return sampled_softmax.cross_entropy(
        states, (words + 1) % size, ranks, size,
        target_rows=(table[words], params["bias"][words]),
        drawn_rows=(table[rows], params["bias"][rows]),
    )  # fmt: skip

  return _sums(each, outputs.last, ids, lengths, size)


def _sums(each, directions, ids, lengths, size):
  """Over the predictions of each sentence, of `each(states or logits, words)`."""
  words = framed(ids, lengths, size - 1)
  valid = jnp.arange(words.shape[-1] - 1) <= lengths[..., None]
  targets = words[..., 1:], words[..., :-1]
  return tuple(jnp.where(valid, each(*p), 0).sum(-1) for p in zip(directions, targets))
