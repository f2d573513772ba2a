"""A recurrence with integer weights compares the sums of even and odd positions.

One unit, without an activation: h_t = x_t - h_{t-1}, h_0 = 0, so that after an even number T

  h_T = (x_2 + x_4 + ... + x_T) - (x_1 + x_3 + ... + x_{T-1})

The output sigmoid(1000 h_T) is 1 where the even positions have the larger sum, 0 where the odd
ones have it, and 1/2 where the sums are equal. It is exact for integers, whatever the length.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
from matplotlib.figure import Figure
import numpy as np

from dlx.layers import linear, rnn
from dlx.reports import figures

ONE = np.ones((1, 1), np.float32)
PARAMS = {"input": ONE, "hidden": -ONE, "bias": 0 * ONE[0]}
OUT = {"kernel": 1000 * ONE}


def compare(xs: Int[Array, "... T"]) -> tuple[Float[Array, "... T"], Float[Array, "..."]]:
  """Which positions, counted from 1, have the larger sum: the even or the odd ones.

  Args:
    xs: integers, `(..., T)`, T even. Floats of integer values will do. Exact while all |h_t| are
      below 2^24 (2^53 with jax_enable_x64).

  Returns:
    The states h, `(..., T)`, whose last is the even sum minus the odd one; and the output,
    `(...)`: 1 if it is positive, 0 if negative, 1/2 if zero.

  Raises:
    ValueError: T is not even; after an odd number of steps the signs would be exchanged.
  """
  xs = jnp.asarray(xs)
  if xs.ndim < 1 or xs.shape[-1] % 2:
    raise ValueError(f"xs: expected an even number of integers (..., T), got shape {xs.shape}")
  xs = xs[..., None].astype(float)
  _, states = rnn.scan(PARAMS, xs, activation=lambda a: a)
  output = jax.nn.sigmoid(linear.apply(OUT, states[..., -1, :])) if xs.shape[-2] else 0.5
  return states[..., 0], jnp.broadcast_to(jnp.asarray(output), (*xs.shape[:-2], 1))[..., 0]


def draw(seed: int = 0) -> tuple[Figure, list[str]]:
  """The states over time of two sequences, and the comparisons of some."""
  figure = figures.figure(7, 4)
  figure.set_layout_engine("constrained")
  axes, lines = figure.subplots(), []
  rng = np.random.default_rng(seed)
  for length in (2, 6, 20, 40):
    xs = rng.integers(-9, 10, length)
    states, output = compare(xs)
    lines.append(f"{length} numbers: even sum {xs[1::2].sum()}, odd sum {xs[::2].sum()}, "
                 f"h_T = {float(states[-1]):g}, output {float(output):g}")  # fmt: skip
    if length > 6:
      axes.plot(range(1, length + 1), states, "o-", markersize=3, label=f"{length} numbers")
  axes.axhline(0, color="0.6", linewidth=1)
  axes.set(xlabel="step t", ylabel="h_t = x_t - h_{t-1}")
  axes.set_title("after an even number of steps: even sum minus odd sum", fontsize=10)
  axes.legend(fontsize=8)
  axes.spines[["top", "right"]].set_visible(False)
  return figure, lines
