"""The gradients of layer norm, RMS norm and batch norm, derived by hand.

Layer norm and batch norm normalize different groups of numbers in the same way: layer norm
the D entries of one vector, batch norm the n values of one channel in a batch. Let
x_1 .. x_n be such a group, and

  m = 1/n sum_i x_i,   v = 1/n sum_i (x_i - m)^2,   s = 1/sqrt(v + eps),   u_i = (x_i - m) s

with y_i = scale * u_i + bias. d_w is the cotangent of w: the derivative of the loss with
respect to w. The last equation gives d_scale = sum d_y u and d_bias = sum d_y, over all
elements that share a scale and a bias, and d_u = d_y scale. The rest is one derivation per
group. With [i = j] for 1 if i is j and else 0,

  dm/dx_j = 1/n
  dv/dx_j = 2/n sum_i (x_i - m) ([i = j] - 1/n) = 2/n (x_j - m),  as sum_i (x_i - m) = 0
  ds/dv   = -1/2 (v + eps)^(-3/2) = -1/2 s^3

so the chain rule through all three occurrences of x_j gives

  du_i/dx_j = s ([i = j] - 1/n) - 1/n s^3 (x_i - m)(x_j - m) = s ([i = j] - 1/n - 1/n u_i u_j)

and, summed over the u_i with weights d_u_i,

  d_x_j = s (d_u_j - mean(d_u) - u_j mean(d_u u))

In words: two components of d_u are projected out, the constant one and the one along u,
because u is invariant to adding a constant to all x and (except for eps) to multiplying all
x by a positive constant.

Sums are accumulated in at least float32. Each cotangent has the dtype of its primal.

Source: Ioffe and Szegedy, "Batch normalization" (2015), section 3; Ba, Kiros, Hinton,
  "Layer normalization" (2016), equation 4; Zhang and Sennrich, "Root mean square layer
  normalization" (2019), equation 4.
"""

from jax import lax
import jax.numpy as jnp

from dlx import platform
from dlx.gradients import checks


def widen(x):
  """x in at least float32, the dtype of all sums here."""
  return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def sum_leading(x):
  """The sum over all dimensions except the last, one at a time from the inside out.

  On CPU, XLA sums over several axes sequentially on one core, but over a single axis on all
  cores. The barrier prevents it from merging the sums. This is faster, has a fiftieth of
  the rounding error, and suits any sharding, unlike a reshape to one axis.
  """
  while x.ndim > 1:
    x = lax.optimization_barrier(x.sum(-2))
  return x


def mean_last(x):
  """The mean over the last dimension, which is kept with size 1.

  On CPU it is a product with a vector of ones: XLA sums contiguous values sequentially, but
  uses vector instructions for products. This halves the time of a layer norm.
  """
  if platform.choices()["sum_last"] == "sum":
    return x.mean(-1, keepdims=True)
  n = x.shape[-1]
  return jnp.matmul(x, jnp.ones((n, 1), x.dtype), precision=lax.Precision.HIGHEST) / n


def vector_moments(x):
  """The mean and the biased variance of each vector (the last dimension), (..., 1).

  In two passes, because mean(x^2) - mean(x)^2 is a difference of two large numbers and loses
  the digits of a small variance. The first value is subtracted before the mean and added
  after it: sums of large values with one sign accumulate rounding errors, but their
  differences are exact, and equal values have a variance of exactly 0. The result does not
  depend on the value subtracted, which is therefore a constant in the derivative.

  Source: Chan, Golub, LeVeque, "Algorithms for computing the sample variance" (1983).
  """
  x = widen(x)
  first = lax.stop_gradient(x[..., :1])
  mean = first + mean_last(x - first)
  return mean, mean_last(jnp.square(x - mean))


def batch_moments(x):
  """`vector_moments` of each channel (the last dimension) over all other dimensions, (C,)."""
  x, n = widen(x), x.size // x.shape[-1]
  first = lax.stop_gradient(x[(0,) * (x.ndim - 1)])
  mean = first + sum_leading(x - first) / n
  return mean, sum_leading(jnp.square(x - mean)) / n


def _check(params, x, d_y, name):
  checks.expect_like(name, d_y, x.shape, jnp.result_type(x, *params.values()))


def _params_vjp(params, d_scale, d_bias):
  """The cotangents in the structure and dtypes of params, which may have no bias."""
  sums = {"scale": d_scale, "bias": d_bias}
  return {name: sums[name].astype(value.dtype) for name, value in params.items()}


def layer_norm_vjp(params, x, *, d_out, eps=1e-5):
  """The vector-Jacobian product of `dlx.layers.norm.layer_norm`.

  The module's derivation, where a group is one vector (the last dimension):

    d_x = s (d_u - mean(d_u) - u mean(d_u u)),   d_u = d_y scale

  Args:
    params: `scale (D,)` and, optionally, `bias (D,)`.
    x: `(..., D)`.
    d_out: d_y, `(..., D)`, in the dtype of y.
    eps: as in the layer.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: Ba, Kiros, Hinton (2016), equation 4; the derivation is the module's.
  """
  _check(params, x, d_out, "d_out")
  mean, var = vector_moments(x)
  s = lax.rsqrt(var + eps)
  u = (widen(x) - mean) * s
  d_y = widen(d_out)
  d_u = d_y * widen(params["scale"])
  d_x = s * (d_u - mean_last(d_u) - u * mean_last(d_u * u))
  d_params = _params_vjp(params, sum_leading(d_y * u), sum_leading(d_y))
  return d_params, d_x.astype(x.dtype)


def rms_norm_vjp(params, x, *, d_out, eps=1e-5):
  """The vector-Jacobian product of `dlx.layers.norm.rms_norm`.

  Here u = x s with s = 1/sqrt(q + eps) and q = 1/D sum_i x_i^2: no mean is subtracted.
  dq/dx_j = 2/D x_j and ds/dq = -1/2 s^3, so

    du_i/dx_j = s [i = j] - 1/D s^3 x_i x_j = s ([i = j] - 1/D u_i u_j)
    d_x = s (d_u - u mean(d_u u)),   d_u = d_y scale

  and d_scale = sum d_y u, d_bias = sum d_y over the leading dimensions.

  Args:
    params: `scale (D,)` and, optionally, `bias (D,)`.
    x: `(..., D)`.
    d_out: d_y, `(..., D)`, in the dtype of y.
    eps: as in the layer.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: Zhang and Sennrich (2019), equation 4; their section 4.2 derives it too.
  """
  _check(params, x, d_out, "d_out")
  s = lax.rsqrt(mean_last(jnp.square(widen(x))) + eps)
  u = widen(x) * s
  d_y = widen(d_out)
  d_u = d_y * widen(params["scale"])
  d_x = s * (d_u - u * mean_last(d_u * u))
  d_params = _params_vjp(params, sum_leading(d_y * u), sum_leading(d_y))
  return d_params, d_x.astype(x.dtype)


def batch_moments_vjp(params, x, mean, var, *, d_out, eps=1e-5):
  """Batch norm in training, from the saved mean and variance, which have cotangents too.

  The module's derivation, where a group is the n values of a channel in the batch, so
  mean(d_u) = scale d_bias / n and mean(d_u u) = scale d_scale / n. The cotangents d_m and
  d_v of m and v as outputs add d_m dm/dx_j + d_v dv/dx_j, so

    d_x_j = s scale (d_y_j - d_bias / n - u_j d_scale / n) + (d_m + 2 d_v (x_j - m)) / n

  Everything except x_j and d_y_j is one number per channel, so the code first computes the
  coefficients of d_y, 1 and x - m: d_x = a d_y - b - c (x - m).

  Args:
    params: `scale (C,)` and, optionally, `bias (C,)`.
    x: `(..., C)`.
    mean, var: m and v, `(C,)`, from `batch_moments`.
    d_out: (d_y, d_m, d_v), `(..., C)`, `(C,)` and `(C,)`.
    eps: as in the layer.

  Returns:
    (d_params, d_x).

  Source: as for the module.
  """
  d_y, d_mean, d_var = d_out
  d_y, centered, n = widen(d_y), widen(x) - mean, x.size // x.shape[-1]
  s = lax.rsqrt(var + eps)
  d_scale, d_bias = sum_leading(d_y * centered) * s, sum_leading(d_y)
  a = widen(params["scale"]) * s
  b = (a * d_bias - d_mean) / n
  c = (a * s * d_scale - 2 * d_var) / n
  d_x = a * d_y - b - c * centered
  return _params_vjp(params, d_scale, d_bias), d_x.astype(x.dtype)


def batch_norm_vjp(params, stats, x, *, d_out, train, momentum=0.9, eps=1e-5):
  """The vector-Jacobian product of `dlx.layers.norm.batch_norm`.

  In training y depends only on the batch, and the new statistics are
  momentum * old + (1 - momentum) * (m, v). So the old ones receive momentum * d_new, m and v
  receive (1 - momentum) * d_new, and `batch_moments_vjp` does the rest.

  In evaluation m and v are the old statistics, independent of x, and y is linear in x.
  From y = scale (x - m) s + bias, with sums over all dimensions except the last,

    d_x = d_y scale s
    d_m = -sum d_x = -scale s d_bias
    d_v = sum d_y scale (x - m) ds/dv = -1/2 scale s^2 sum d_y u = -1/2 scale s^2 d_scale

  and the statistics are returned unchanged, so their d_new is added.

  Args:
    params: `scale (C,)` and, optionally, `bias (C,)`.
    stats: `mean (C,)` and `var (C,)`.
    x: `(..., C)`.
    d_out: (d_y, d_new), `(..., C)` and a dict like stats.
    train, momentum, eps: as in the layer.

  Returns:
    (d_params, d_stats, d_x), in the shapes and dtypes of params, stats and x.

  Raises:
    ValueError: a cotangent does not have the shape or the dtype of its output.

  Source: Ioffe and Szegedy (2015), section 3 (training) and algorithm 2 (evaluation).
  """
  d_y, d_new = d_out
  _check(params, x, d_y, "d_out[0]")
  for name, old in stats.items():
    checks.expect_like(f"d_out[1]['{name}']", d_new[name], old.shape, old.dtype)
  if train:
    d_moments = [(1 - momentum) * widen(d_new[name]) for name in ("mean", "var")]
    d_params, d_x = batch_moments_vjp(
        params, x, *batch_moments(x), d_out=(d_y, *d_moments), eps=eps
    )
    return d_params, {name: momentum * d for name, d in d_new.items()}, d_x
  s = lax.rsqrt(widen(stats["var"]) + eps)
  a = widen(params["scale"]) * s
  d_y, u = widen(d_y), (widen(x) - widen(stats["mean"])) * s
  d_scale, d_bias = sum_leading(d_y * u), sum_leading(d_y)
  d_stats = {"mean": -a * d_bias, "var": -a * s * d_scale / 2}
  d_stats = {name: (d_new[name] + d).astype(d_new[name].dtype) for name, d in d_stats.items()}
  return _params_vjp(params, d_scale, d_bias), d_stats, (a * d_y).astype(x.dtype)
