"""The linear (fully connected) layer, y = x W + b."""

import math

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.layers import shapes


def init(rng: jax.Array, d_in: int, d_out: int, *, bias: bool = True) -> dict[str, Array]:
  """Draws `kernel (d_in, d_out)` with variance 1/d_in and a zero `bias (d_out,)`.

  LeCun's initialization preserves the variance of activations: if the entries of x have
  variance 1, those of x W have variance d_in * (1/d_in) = 1.

  Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998), section 4.6.
  """
  params = {"kernel": initializers.lecun_normal()(rng, (d_in, d_out))}
  if bias:
    params["bias"] = jnp.zeros((d_out,))
  return params


def apply(params: dict[str, Array], x: Float[Array, "... d_in"]) -> Float[Array, "... d_out"]:
  """Applies a linear map to the last dimension: y = x W + b, without b if `params` has none.

  Args:
    params: `kernel (d_in, d_out)` and, optionally, `bias (d_out,)`.
    x: `(..., d_in)`.

  Returns:
    y, `(..., d_out)`, in the dtype that x and the kernel promote to.

  Raises:
    ValueError: the last dimension of x is not d_in.
  """
  shapes.expect_params(params, ("kernel",))
  (x,) = shapes.as_arrays(x)
  shapes.expect_last("x", x, params["kernel"].shape[0])
  # Flattened to a matrix: on CPU, XLA sums a bias's gradient several times slower over two
  # dimensions than over one.
  y = x.reshape(math.prod(x.shape[:-1]), x.shape[-1]) @ params["kernel"]
  y = y + params["bias"] if "bias" in params else y
  return y.reshape(*x.shape[:-1], y.shape[-1])
