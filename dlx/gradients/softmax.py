"""The gradients of softmax, log-softmax and logsumexp, derived by hand.

All three act on the last dimension. Notation: p = softmax(x), L = logsumexp(x),

  p_i = e^x_i / sum_k e^x_k,   L = log sum_k e^x_k,   log p_i = x_i - L

and d_v is the cotangent of v (the derivative of the loss with respect to v). All rules
follow from the derivative of L:

  dL/dx_j = e^x_j / sum_k e^x_k = p_j

`where`, as in jax.nn.softmax, is True at the entries that are included and broadcasts to x.
An entry of -inf is excluded as well: e^-inf = 0, so its probability is 0 and its
log-probability the constant -inf. An excluded entry has the cotangent 0. A row without
included entries has probabilities 0 and cotangents 0, never nan. An entry of +inf gives nan,
as in jax.nn.softmax.

Exponentials and sums are computed in at least float32.

Source: Bridle, "Probabilistic interpretation of feedforward classification network
  outputs" (1990); Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 6.2.2.3.
"""

from jax import lax
import jax.numpy as jnp

from dlx.gradients import checks


def _prepare(x, where):
  """x in at least float32, with -inf at excluded entries."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  if where is not None:
    checks.expect_broadcast("where", where, x.shape)
    x = jnp.where(jnp.broadcast_to(where, x.shape), x, -jnp.inf)
  return x


def probabilities(x, *, where=None):
  """softmax(x) over the last dimension, with zeros in a row without included entries.

  The largest entry is subtracted first, so that no exponential overflows. It cancels in the
  quotient, so it is a constant in the derivative.

  Args:
    x: `(..., n)`.
    where: as in the module's docstring.

  Returns:
    p, `(..., n)`, in at least float32.
  """
  x = _prepare(x, where)
  largest = lax.stop_gradient(x.max(-1, keepdims=True, initial=-jnp.inf))
  e = jnp.exp(x - jnp.where(jnp.isneginf(largest), 0, largest))
  total = e.sum(-1, keepdims=True)
  return e / jnp.where(total == 0, 1, total)


def softmax_jacobian(x, *, where=None):
  """The whole Jacobian of softmax, J_ij = dp_i/dx_j, that is diag(p) - p p^T.

  From p_i = e^(x_i - L), with [i = j] for 1 if i is j and else 0,

    dp_i/dx_j = p_i ([i = j] - dL/dx_j) = p_i ([i = j] - p_j)

  It is symmetric, and its rows and columns sum to 0, because softmax is invariant to adding a
  constant to every x.

  Args:
    x: `(..., n)`.
    where: as in the module's docstring.

  Returns:
    J, `(..., n, n)`, in the dtype of x.

  Source: as for the module.
  """
  p = probabilities(x, where=where)
  jacobian = p[..., :, None] * (jnp.eye(x.shape[-1], dtype=p.dtype) - p[..., None, :])
  return jacobian.astype(x.dtype)


def softmax_vjp(x, *, d_out, where=None):
  """The vector-Jacobian product of `jax.nn.softmax`, p_i = e^x_i / sum_k e^x_k.

  With the Jacobian of `softmax_jacobian`, d_x_j = sum_i d_p_i p_i ([i = j] - p_j), so

    d_x_j = p_j (d_p_j - sum_i d_p_i p_i)

  The n x n Jacobian is never formed: the mean of the cotangents under p is subtracted from
  each of them.

  Args:
    x: `(..., n)`.
    d_out: d_p, in the shape and dtype of x.
    where: as in the module's docstring.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of x.

  Source: as for the module.
  """
  checks.expect_like("d_out", d_out, jnp.shape(x), jnp.result_type(x))
  p = probabilities(x, where=where)
  mean = (d_out * p).sum(-1, keepdims=True)
  return (p * (d_out - mean)).astype(x.dtype)


def log_softmax_vjp(x, *, d_out, where=None):
  """The vector-Jacobian product of `jax.nn.log_softmax`, y_i = x_i - L.

  dy_i/dx_j = [i = j] - p_j, so d_x_j = sum_i d_y_i ([i = j] - p_j), which is

    d_x_j = d_y_j - p_j sum_i d_y_i

  An excluded entry has the constant y = -inf, so its d_y is ignored.

  Args:
    x: `(..., n)`.
    d_out: d_y, in the shape and dtype of x.
    where: as in the module's docstring.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of x.

  Source: as for the module.
  """
  checks.expect_like("d_out", d_out, jnp.shape(x), jnp.result_type(x))
  p = probabilities(x, where=where)
  absent = jnp.isneginf(_prepare(x, where))
  d_y = jnp.where(absent, 0, d_out.astype(p.dtype))
  return (d_y - p * d_y.sum(-1, keepdims=True)).astype(x.dtype)


def logsumexp_vjp(x, *, d_out, where=None):
  """The vector-Jacobian product of `jax.nn.logsumexp(x, axis=-1)`, L = log sum_k e^x_k.

  d_x_j = d_L dL/dx_j = d_L p_j: a smooth version of the maximum, whose cotangent goes to the
  largest entry only.

  Args:
    x: `(..., n)`.
    d_out: d_L, `(...)`, in the dtype of x.
    where: as in the module's docstring.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape of L or the dtype of x.

  Source: as for the module.
  """
  checks.expect_like("d_out", d_out, jnp.shape(x)[:-1], jnp.result_type(x))
  p = probabilities(x, where=where)
  return (d_out[..., None] * p).astype(x.dtype)
