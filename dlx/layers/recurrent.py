"""Stacked and bidirectional recurrent layers.

`cell` is one of the modules rnn, gru, lstm; options of its functions (e.g. reset_after of
gru) are passed as keyword arguments.
"""

from types import ModuleType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.layers import gru, lstm, rnn
from dlx.layers.dropout import dropout

CELLS = {"gru": gru, "lstm": lstm, "rnn": rnn}  # By their names in configs.


def init(
    rng: jax.Array, d_in: int, d_hidden: int, num_layers: int, *, cell: ModuleType, **options
) -> list[dict[str, Array]]:
  """Draws the params of each layer; the first has d_in input features, the others d_hidden.

  Raises:
    ValueError: num_layers is below 1.
  """
  if num_layers < 1:
    raise ValueError(f"num_layers: expected at least 1, got {num_layers}")
  sizes = [d_in] + [d_hidden] * (num_layers - 1)
  rngs = jax.random.split(rng, num_layers)
  return [cell.init(r, size, d_hidden, **options) for r, size in zip(rngs, sizes)]


def scan(
    params: list[dict[str, Array]],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    carries: list | None = None,
    *,
    cell: ModuleType,
    lengths: Int[Array, "..."] | None = None,
    dropout_rate: float = 0.0,
    recurrent_dropout_rate: float = 0.0,
    residual: bool = False,
    rng: jax.Array | None = None,
    **options,
) -> tuple[list, Float[Array, "... T H"]]:
  """Runs a stack of layers: ys of a layer are xs of the next.

  Two kinds of dropout, both disabled without `rng`:
  - between layers, y = m * y / (1 - p), with an independent mask m at every step. There is
    none after the last layer.
  - on the recurrence, U = M * U / (1 - p), with one mask M of the hidden kernel for the
    whole call (DropConnect): the state is never dropped, and the loop is not slower.

  Args:
    params: of each layer, as from `init`.
    xs: `(..., T, D)`, or integer ids `(..., T)` in place of one-hot vectors.
    carries: the initial carry of each layer; zeros if None.
    cell: rnn, gru or lstm.
    lengths: the number of valid steps of each sequence, `(...)`.
    dropout_rate: p between layers.
    recurrent_dropout_rate: p on each hidden kernel.
    residual: add a layer's xs to its ys, in all layers except the first.
    rng: a typed key; None in evaluation.
    **options: passed to `cell.scan`.

  Returns:
    (carries, ys): the final carry of each layer, and ys of the last layer, `(..., T, H)`.

  Raises:
    ValueError: the number of carries is not the number of layers.

  Source: Zaremba, Sutskever, Vinyals, "Recurrent neural network regularization" (2014)
    for the first; Merity, Keskar, Socher, "Regularizing and optimizing LSTM language
    models" (2018) for the second.
  """
  if carries is None:
    carries = [None] * len(params)
  if len(carries) != len(params):
    raise ValueError(f"carries: expected one for each of {len(params)} layers, got {len(carries)}")
  last_carries = []
  for i, (layer, carry) in enumerate(zip(params, carries)):
    if rng is not None:
      rng, input_rng, hidden_rng = jax.random.split(rng, 3)
      if i > 0:
        xs = dropout(input_rng, xs, rate=dropout_rate)
      hidden = dropout(hidden_rng, layer["hidden"], rate=recurrent_dropout_rate)
      layer = {**layer, "hidden": hidden}
    carry, ys = cell.scan(layer, xs, carry, lengths=lengths, **options)
    xs = xs + ys if residual and i > 0 else ys
    last_carries.append(carry)
  return last_carries, xs


def init_bidirectional(
    rng: jax.Array, d_in: int, d_hidden: int, *, cell: ModuleType, **options
) -> dict[str, dict[str, Array]]:
  """Draws `forward` and `backward`, the params of two layers with the same input."""
  forward_rng, backward_rng = jax.random.split(rng)
  return {
      "forward": cell.init(forward_rng, d_in, d_hidden, **options),
      "backward": cell.init(backward_rng, d_in, d_hidden, **options),
  }


def bidirectional(
    params: dict[str, dict[str, Array]],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    *,
    cell: ModuleType,
    lengths: Int[Array, "..."] | None = None,
    **options,
) -> tuple[tuple, Float[Array, "... T 2H"]]:
  """Runs a bidirectional layer: y_t = [forward h_t, backward h_t].

  Args:
    params: `forward` and `backward`, each the params of a layer of `cell`.
    xs: `(..., T, D)`.
    cell: rnn, gru or lstm.
    lengths: the number of valid steps of each sequence, `(...)`; the backward layer starts
      at the last valid step.
    **options: passed to `cell.scan`.

  Returns:
    ((forward carry, backward carry), ys `(..., T, 2H)`), where each carry is the final one
    of its direction; ys are zero in the padding.

  Source: Schuster and Paliwal, "Bidirectional recurrent neural networks" (1997).
  """
  forward, ys = cell.scan(params["forward"], xs, lengths=lengths, **options)
  backward, ys_back = cell.scan(params["backward"], xs, lengths=lengths, reverse=True, **options)
  return (forward, backward), jnp.concatenate([ys, ys_back], axis=-1)
