"""The gradient of group norm, derived by hand.

A group is the C / G channels of one of G groups, at all S positions of one example: n = S C / G
numbers x_1 .. x_n. They are normalized as those of layer norm and batch norm are, so the
derivation is that of dlx/gradients/norm.py. With

  m = 1/n sum_i x_i,   v = 1/n sum_i (x_i - m)^2,   s = 1/sqrt(v + eps),   u_i = (x_i - m) s

and y_i = scale u_i + bias, where scale and bias belong to the channel of x_i,

  d_x_j = s (d_u_j - mean(d_u) - u_j mean(d_u u)),   d_u = d_y scale
  d_scale = sum d_y u,   d_bias = sum d_y

with means over the group, whose channels have different scales, and sums over the positions
and examples, which share the scale of a channel.

Sums are accumulated in at least float32. Each cotangent has the dtype of its primal.

Source: Wu and He, "Group normalization" (2018), equations 1 to 3 and 7.
"""

import math

from jax import lax
import jax.numpy as jnp

from dlx.gradients import checks, norm


def _per_channel(values, channels):
  """One value per group, (..., G), repeated for each of the channels, (..., C)."""
  groups = values.shape[-1]
  every = jnp.broadcast_to(values[..., None], (*values.shape, channels // groups))
  return every.reshape(*values.shape[:-1], channels)


def group_mean(x, groups, spatial):
  """The mean of each group of x (..., *S, C), for each of its channels: (..., *(1 ..), C).

  First over the positions, one dimension at a time (`norm.sum_leading` says why), then over
  the channels of a group, whose sums are far smaller than x.
  """
  positions = math.prod(x.shape[x.ndim - 1 - spatial : x.ndim - 1])
  for axis in range(spatial):
    x = lax.optimization_barrier(x.sum(-2 - axis, keepdims=True))
  channels = x.shape[-1]
  means = norm.mean_last(x.reshape(*x.shape[:-1], groups, channels // groups))[..., 0]
  return _per_channel(means, channels) / positions


def moments(x, groups, spatial):
  """The mean and the biased variance of each group, for each of its channels.

  In two passes, after a value of the group was subtracted, as `norm.vector_moments`.
  """
  x, channels = norm.widen(x), x.shape[-1]
  place = (..., *[slice(1)] * spatial, slice(None, None, channels // groups))
  first = _per_channel(lax.stop_gradient(x[place]), channels)
  mean = first + group_mean(x - first, groups, spatial)
  return mean, group_mean(jnp.square(x - mean), groups, spatial)


def group_norm_vjp(params, x, *, d_out, groups, spatial=2, eps=1e-5):
  """The vector-Jacobian product of `dlx.layers.norm.group_norm`.

  The module's equations.

  Args:
    params: `scale (C,)` and, optionally, `bias (C,)`.
    x: `(..., *S, C)`, with `spatial` dimensions S.
    d_out: d_y, in the shape of x and the dtype of y.
    groups, spatial, eps: as in the layer.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: the module's.
  """
  checks.expect_like("d_out", d_out, x.shape, jnp.result_type(x, *params.values()))
  mean, var = moments(x, groups, spatial)
  s = lax.rsqrt(var + eps)
  u = (norm.widen(x) - mean) * s
  d_y = norm.widen(d_out)
  d_u = d_y * norm.widen(params["scale"])
  along = u * group_mean(d_u * u, groups, spatial)
  d_x = s * (d_u - group_mean(d_u, groups, spatial) - along)
  sums = {"scale": norm.sum_leading(d_y * u), "bias": norm.sum_leading(d_y)}
  d_params = {name: sums[name].astype(value.dtype) for name, value in params.items()}
  return d_params, d_x.astype(x.dtype)
