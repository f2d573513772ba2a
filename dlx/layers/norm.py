"""Layer norm, RMS norm, group norm and batch norm.

All normalize to a mean square of 1 and then apply a learned scale and bias.
Statistics and normalization are computed in at least float32; the result has the dtype
that x and the parameters promote to.
"""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from dlx.gradients import group_norm as group_gradients
from dlx.gradients import norm as gradients
from dlx.gradients import varying
from dlx.layers import shapes


def init(rng: jax.Array, d: int, *, bias: bool = True) -> dict[str, Array]:
  """Makes `scale (d,)` of ones and `bias (d,)` of zeros; rng is not used.

  RMS norm is commonly used with `bias=False`.
  """
  del rng
  params = {"scale": jnp.ones((d,))}
  if bias:
    params["bias"] = jnp.zeros((d,))
  return params


def init_stats(d: int) -> dict[str, Array]:
  """Makes the initial running statistics of batch norm: `mean (d,)` zeros, `var (d,)` ones."""
  return {"mean": jnp.zeros((d,)), "var": jnp.ones((d,))}


def _checked(params, x, implementation):
  """x as an array, after a check of the arguments."""
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  shapes.expect_params(params, ("scale",))
  (x,) = shapes.as_arrays(x)
  shapes.expect_last("x", x, params["scale"].shape[0])
  return x


def _scale_and_shift(params, u, x):
  """scale * u + bias, in the dtype of x and params."""
  y = u * params["scale"]
  if "bias" in params:
    y = y + params["bias"]
  return y.astype(jnp.result_type(x, *params.values()))


def _layer_norm(eps, params, x):
  mean, var = gradients.vector_moments(x)
  return _scale_and_shift(params, (x - mean) * lax.rsqrt(var + eps), x)


_layer_norm_with_custom_vjp = jax.custom_vjp(_layer_norm, nondiff_argnums=(0,))
_layer_norm_with_custom_vjp.defvjp(
    lambda eps, params, x: (_layer_norm(eps, params, x), (params, x)),
    lambda eps, saved, d_out: gradients.layer_norm_vjp(*saved, d_out=d_out, eps=eps),
)


def layer_norm(
    params: dict[str, Array],
    x: Float[Array, "... D"],
    *,
    eps: float = 1e-5,
    implementation: str = "auto",
) -> Float[Array, "... D"]:
  """Normalizes each vector to mean 0 and variance 1, then scales and shifts its entries.

  m = mean(x),  v = mean((x - m)^2),  y = (x - m) / sqrt(v + eps) * scale + bias

  with means over the D entries of the last dimension. Equal entries (v = 0) give bias.

  Args:
    params: `scale (D,)` and, optionally, `bias (D,)`.
    x: `(..., D)`.
    eps: a small constant for numerical stability.
    implementation: "auto" uses the gradient of dlx/gradients/norm.py, which is faster and
      saves no array of x's size except x, but has no forward mode; "autodiff" uses jax's.

  Returns:
    y, `(..., D)`, in the dtype that x and params promote to.

  Raises:
    ValueError: the last dimension of x is not D, or implementation is unknown.

  Source: Ba, Kiros, Hinton, "Layer normalization" (2016), equation 4.
  """
  x = _checked(params, x, implementation)
  rule = _layer_norm_with_custom_vjp if implementation == "auto" else _layer_norm
  return varying.call(rule, params, x, static=(eps,))


def _rms_norm(eps, params, x):
  x_wide = gradients.widen(x)
  square = gradients.mean_last(jnp.square(x_wide))
  return _scale_and_shift(params, x_wide * lax.rsqrt(square + eps), x)


_rms_norm_with_custom_vjp = jax.custom_vjp(_rms_norm, nondiff_argnums=(0,))
_rms_norm_with_custom_vjp.defvjp(
    lambda eps, params, x: (_rms_norm(eps, params, x), (params, x)),
    lambda eps, saved, d_out: gradients.rms_norm_vjp(*saved, d_out=d_out, eps=eps),
)


def rms_norm(
    params: dict[str, Array],
    x: Float[Array, "... D"],
    *,
    eps: float = 1e-5,
    implementation: str = "auto",
) -> Float[Array, "... D"]:
  """Normalizes each vector to a root mean square of 1, then scales its entries.

  y = x / sqrt(mean(x^2) + eps) * scale + bias, without bias when `params` has none

  Args:
    params: `scale (D,)` and, optionally, `bias (D,)`.
    x: `(..., D)`.
    eps: a small constant for numerical stability.
    implementation: as in `layer_norm`.

  Returns:
    y, `(..., D)`, in the dtype that x and params promote to.

  Raises:
    ValueError: the last dimension of x is not D, or implementation is unknown.

  Source: Zhang and Sennrich, "Root mean square layer normalization" (2019), equation 4.
  """
  x = _checked(params, x, implementation)
  rule = _rms_norm_with_custom_vjp if implementation == "auto" else _rms_norm
  return varying.call(rule, params, x, static=(eps,))


def _group_norm(groups, spatial, eps, params, x):
  mean, var = group_gradients.moments(x, groups, spatial)
  return _scale_and_shift(params, (x - mean) * lax.rsqrt(var + eps), x)


_group_norm_with_custom_vjp = jax.custom_vjp(_group_norm, nondiff_argnums=(0, 1, 2))
_group_norm_with_custom_vjp.defvjp(
    lambda groups, spatial, eps, params, x: (
        _group_norm(groups, spatial, eps, params, x),
        (params, x),
    ),
    lambda groups, spatial, eps, saved, d_out: group_gradients.group_norm_vjp(
        *saved, d_out=d_out, groups=groups, spatial=spatial, eps=eps
    ),
)


def group_norm(
    params: dict[str, Array],
    x: Float[Array, "... H W C"],
    *,
    groups: int,
    spatial: int = 2,
    eps: float = 1e-5,
    implementation: str = "auto",
) -> Float[Array, "... H W C"]:
  """Normalizes each group of channels of an image to mean 0 and variance 1, then scales channels.

  y = (x - m) / sqrt(v + eps) * scale + bias

  where m and v are the mean and the (biased) variance of C / groups adjacent channels at all
  positions of one example; scale and bias belong to a channel. groups = C is instance norm;
  groups = 1 normalizes an example as a whole, and is `layer_norm` for spatial = 0.

  Args:
    params: `scale (C,)` and, optionally, `bias (C,)`.
    x: `(..., H, W, C)`, or with other dimensions in place of H and W; see spatial.
    groups: the number of groups, a divisor of C.
    spatial: the number of dimensions before the channels that a group includes: 2 for images,
      1 for sequences `(..., T, C)`, 0 for vectors `(..., C)`.
    eps: a small constant for numerical stability.
    implementation: as in `layer_norm`, with dlx/gradients/group_norm.py.

  Returns:
    y, in the shape of x and the dtype that x and params promote to.

  Raises:
    ValueError: x has too few dimensions or its last is not C, groups does not divide C, spatial
      is negative, or implementation is unknown.

  Source: Wu and He, "Group normalization" (2018), equation 7; Ulyanov, Vedaldi, Lempitsky,
    "Instance normalization" (2016).
  """
  x = _checked(params, x, implementation)
  if not isinstance(spatial, (int, np.integer)) or spatial < 0:
    raise ValueError(f"spatial: expected an int of at least 0, got {spatial!r}")
  shapes.expect_rank("x", x, spatial + 1, f"(..., C) with {spatial} dimensions before C")
  if not isinstance(groups, (int, np.integer)) or groups < 1 or x.shape[-1] % groups:
    raise ValueError(f"groups: expected a divisor of {x.shape[-1]} channels, got {groups!r}")
  rule = _group_norm_with_custom_vjp if implementation == "auto" else _group_norm
  return varying.call(rule, params, x, static=(groups, spatial, eps))


def _from_batch(eps, params, x):
  """(y, mean, var) with the mean and variance of the batch."""
  mean, var = gradients.batch_moments(x)
  return _scale_and_shift(params, (x - mean) * lax.rsqrt(var + eps), x), mean, var


def _from_batch_fwd(eps, params, x):
  y, mean, var = _from_batch(eps, params, x)
  return (y, mean, var), (params, x, mean, var)


_from_batch_with_custom_vjp = jax.custom_vjp(_from_batch, nondiff_argnums=(0,))
_from_batch_with_custom_vjp.defvjp(
    _from_batch_fwd,
    lambda eps, saved, d_out: gradients.batch_moments_vjp(*saved, d_out=d_out, eps=eps),
)


def batch_norm(
    params: dict[str, Array],
    stats: dict[str, Array],
    x: Float[Array, "... C"],
    *,
    train: bool,
    momentum: float = 0.9,
    eps: float = 1e-5,
    implementation: str = "auto",
) -> tuple[Float[Array, "... C"], dict[str, Array]]:
  """Normalizes each channel to mean 0 and variance 1 over the batch, then scales and shifts.

  y = (x - m) / sqrt(v + eps) * scale + bias

  In training m and v are the mean and the (biased) variance of the channel over all
  dimensions except the last, and the running statistics are updated:

  stats' = momentum * stats + (1 - momentum) * (m, v)

  In evaluation m and v are the running statistics, which do not change.

  All leading dimensions are reduced, so `vmap` gives different statistics than leading
  dimensions. A batch that is sharded over devices under jit is one batch: its statistics
  are global, and only sums of size C are communicated. A channel with a single value
  (v = 0) gives bias.

  Args:
    params: `scale (C,)` and, optionally, `bias (C,)`.
    stats: `mean (C,)` and `var (C,)`.
    x: `(..., C)`.
    train: use the statistics of x, and update stats.
    momentum: the weight of the old statistics in the running average.
    eps: a small constant for numerical stability.
    implementation: as in `layer_norm`.

  Returns:
    (y, stats'): y `(..., C)` in the dtype that x and params promote to, and the updated
    stats. Both are differentiable with respect to x.

  Raises:
    ValueError: a shape does not fit, x is empty in training, or implementation is
      unknown; the message names the argument.

  Source: Ioffe and Szegedy, "Batch normalization" (2015), algorithms 1 and 2.
  """
  x = _checked(params, x, implementation)
  for name in ("mean", "var"):
    shapes.expect_shape(f"stats['{name}']", stats[name], params["scale"].shape)
  if not train:
    u = (gradients.widen(x) - stats["mean"]) * lax.rsqrt(gradients.widen(stats["var"]) + eps)
    return _scale_and_shift(params, u, x), stats
  if x.size == 0:
    raise ValueError(f"x: expected at least one example, got shape {x.shape}")
  from_batch = _from_batch_with_custom_vjp if implementation == "auto" else _from_batch
  y, *new = varying.call(from_batch, params, x, static=(eps,))
  stats = {
      name: (momentum * stats[name] + (1 - momentum) * value).astype(stats[name].dtype)
      for name, value in zip(("mean", "var"), new)
  }
  return y, stats
