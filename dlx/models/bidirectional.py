"""Bidirectional recurrent layers with dropout, as a part of a module."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float, Int

from dlx.layers import recurrent
from dlx.layers.dropout import dropout


def layers(
    module: nn.Module, x: Float[Array, "... T D"], lengths: Int[Array, "..."], *, train: bool
) -> Float[Array, "... T 2H"]:
  """The states of the last layer of a stack; `layer_0`, ... are params of the module.

  Args:
    module: inside its compact method, with the attributes
      - cell: "rnn", "gru" or "lstm";
      - d_hidden: H, of a layer's state in each direction;
      - num_layers;
      - dropout_rate: of x, and after each layer;
      - recurrent_dropout_rate: on the hidden kernels.
    x: `(..., T, D)`.
    lengths: the number of valid steps of each sequence.
    train: drop, with keys of the module's "dropout".
  """
  cell = recurrent.CELLS[module.cell]
  drop = lambda x: dropout(module.make_rng("dropout"), x, rate=module.dropout_rate)  # noqa: E731
  for i in range(module.num_layers):
    layer = module.param(
        f"layer_{i}",
        lambda rng, d: recurrent.init_bidirectional(rng, d, module.d_hidden, cell=cell),
        x.shape[-1],
    )
    if train:
      x = drop(x)
      hidden_rngs = jax.random.split(module.make_rng("dropout"))
      layer = {
          name: {**p, "hidden": dropout(rng, p["hidden"], rate=module.recurrent_dropout_rate)}
          for rng, (name, p) in zip(hidden_rngs, layer.items())
      }
    _, x = recurrent.bidirectional(layer, x, cell=cell, lengths=lengths)
  return drop(x) if train else x
