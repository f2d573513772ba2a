"""A classifier of sequences: bidirectional recurrent layers, pooling and a linear layer."""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.data import bucketing
from dlx.layers import embedding, linear, pooling
from dlx.models import bidirectional

POOLINGS = ("attention", "mean", "max", "last")


class RecurrentClassifier(nn.Module):
  """Logits of the classes of token sequences.

  Attributes:
    num_tokens: V.
    num_classes: K.
    d_word: of a token's embedding.
    d_hidden: H, of a layer's state in each direction.
    num_layers: of the bidirectional layers.
    cell: "rnn", "gru" or "lstm".
    pooling: one of POOLINGS. "last" is the last state of each direction: that of the backward
      one is at the first token.
    d_attention: A, of the keys of attention pooling.
    dropout_rate: of the embeddings, and after each layer.
    recurrent_dropout_rate: on the hidden kernels.
  """

  num_tokens: int
  num_classes: int
  d_word: int = 128
  d_hidden: int = 128
  num_layers: int = 1
  cell: str = "lstm"
  pooling: str = "attention"
  d_attention: int = 64
  dropout_rate: float = 0.0
  recurrent_dropout_rate: float = 0.0

  @nn.compact
  def __call__(
      self,
      ids: Int[Array, "... T"],
      lengths: Int[Array, "..."],
      *,
      perturbation: Float[Array, "... T D"] | None = None,
      train: bool = False,
  ) -> tuple[Float[Array, "... K"], Float[Array, "... T"] | None]:
    """(logits, the weights of the tokens in attention pooling or None).

    Args:
      ids: of tokens, `(..., T)`.
      lengths: the number of valid ones, at least 1.
      perturbation: added to their embeddings.
      train: drop, with keys named "dropout".
    """
    table = self.param("words", embedding.init, self.num_tokens, self.d_word)
    x = embedding.lookup(table, ids)
    if perturbation is not None:
      x = x + perturbation
    return classify(self, x, lengths, train=train)


def classify(
    module: nn.Module, x: Float[Array, "... T D"], lengths: Int[Array, "..."], *, train: bool
) -> tuple[Float[Array, "... K"], Float[Array, "... T"] | None]:
  """The recurrent layers, the pooling and the linear layer; see RecurrentClassifier.

  Args:
    module: inside its compact method, with the attributes of `bidirectional.layers`, and
      num_classes, pooling and d_attention.
    x: a vector of each step.
    lengths: the number of valid steps, at least 1.
    train: drop, with keys of the module's "dropout".
  """
  x = bidirectional.layers(module, x, lengths, train=train)
  mask, weights = bucketing.token_mask(x[..., 0], lengths), None
  if module.pooling == "attention":
    params = module.param("pooling", pooling.init_attention, x.shape[-1], module.d_attention)
    weights = pooling.attention_weights(params, x, mask)
    x = pooling.attention_pool(params, x, mask)
  elif module.pooling == "last":
    forward, backward = jnp.split(x, 2, -1)
    ends = pooling.pool(forward, mask, how="last"), pooling.pool(backward, mask, how="first")
    x = jnp.concatenate(ends, -1)
  else:
    x = pooling.pool(x, mask, how=module.pooling)
  head = module.param("head", linear.init, x.shape[-1], module.num_classes)
  return linear.apply(head, x), weights
