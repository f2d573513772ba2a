"""A network from a window of past values to the next one: recurrent, or a transformer."""

import flax.linen as nn
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.layers import linear, norm, positional, recurrent
from dlx.models.transformer_block import Block


class Forecaster(nn.Module):
  """The last state of a sequence network, mapped to the change from the last value.

    y = x_T + W h_T + b,   h_1 ... h_T = network(x_1 ... x_T)

  Without the network this is the forecast of persistence, y = x_T. No parameter's shape depends
  on T.

  Attributes:
    network: "gru", "lstm", "rnn" or "transformer".
    d_hidden: H, the features of a state.
    num_layers: L.
    num_heads, d_ff, is_causal: of the transformer, see Block.
    positions: of the transformer, "rotary" or "sinusoidal".
  """

  network: str = "gru"
  d_hidden: int = 64
  num_layers: int = 1
  num_heads: int = 4
  d_ff: int = 128
  is_causal: bool = True
  positions: str = "rotary"

  @nn.compact
  def __call__(self, values: Float[Array, "... T"]) -> Float[Array, "..."]:
    """The forecasts `(...)` of windows `(..., T)`."""
    run = self._transformer if self.network == "transformer" else self._recurrent
    output = self.param("output", linear.init, self.d_hidden, 1)
    return values[..., -1] + linear.apply(output, run(values[..., None])[..., -1, :])[..., 0]

  def _recurrent(self, x):
    cell = recurrent.CELLS[self.network]
    layers = self.param(
        "recurrent",
        lambda rng: recurrent.init(rng, 1, self.d_hidden, self.num_layers, cell=cell),
    )
    return recurrent.scan(layers, x, cell=cell)[1]

  def _transformer(self, x):
    x = linear.apply(self.param("input", linear.init, 1, self.d_hidden), x)
    if self.positions == "sinusoidal":
      x = positional.add_sinusoidal(x)
    for i in range(self.num_layers):
      x = Block(
          self.num_heads, self.d_ff, rotary=self.positions == "rotary",
          is_causal=self.is_causal, name=f"block{i}",
      )(x)  # fmt: skip
    return norm.layer_norm(self.param("final_norm", norm.init, self.d_hidden), x)


def free_running(forecast, values: Float[Array, "T"], window: int, count: int) -> Array:
  """Forecasts of `count` values in a row, each from the forecasts before it.

    y_i = forecast(y_{i-T} ... y_{i-T+W-1}),   y_{-T} ... y_{-1} = values

  Args:
    forecast: maps a window `(W,)` to the value T - W + 1 after its last one.
    values: the T >= W values before the first forecast.
    window: W.
    count: N.

  Returns:
    y_0 ... y_{N-1}, `(N,)`.
  """

  def step(values, _):
    value = forecast(values[:window])
    return jnp.append(values[1:], value), value

  return lax.scan(step, values, length=count)[1]
