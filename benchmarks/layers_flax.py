"""The layers of benchmarks.gradients in Flax Linen, with dlx's parameters."""

from flax import linen as nn
import jax
import jax.numpy as jnp


def _dense(kernel, bias=None):
  return {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}


def recurrent(params: dict, xs: jax.Array, *, gates: int) -> jax.Array:
  """The states of Flax's GRU (3 gates) or LSTM (4) under nn.RNN.

  Flax has one bias per gate, so dlx's hidden_bias of r and z is added to the bias.
  """
  hidden = params["hidden"].shape[0]
  split = {name: jnp.split(value, gates, axis=-1) for name, value in params.items()}
  if gates == 4:
    cell = {f"i{g}": _dense(kernel) for g, kernel in zip("ifgo", split["input"])}
    for g, kernel, bias in zip("ifgo", split["hidden"], split["bias"]):
      cell[f"h{g}"] = _dense(kernel, bias)
    layer = nn.OptimizedLSTMCell(hidden, parent=None)
  else:
    shared = [*split["hidden_bias"][:2], jnp.zeros(hidden, xs.dtype)]
    cell = {
        f"i{g}": _dense(kernel, bias + more)
        for g, kernel, bias, more in zip("rzn", split["input"], split["bias"], shared)
    }
    biases = (None, None, split["hidden_bias"][2])
    for g, kernel, bias in zip("rzn", split["hidden"], biases):
      cell[f"h{g}"] = _dense(kernel, bias)
    layer = nn.GRUCell(hidden, parent=None)
  return nn.RNN(layer).apply({"params": {"cell": cell}}, xs)
