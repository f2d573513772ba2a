"""The gradient of the GRU through time, derived by hand.

Notation: s is the logistic function, * the elementwise product, d_v the cotangent
(the derivative of the loss with respect to v), of the same shape as v. a_r, a_z, a_n
are the input products x W of a step, b the bias and c the hidden bias. One step is,
with reset_after,

  r = s(a_r + b_r + h U_r + c_r)
  z = s(a_z + b_z + h U_z + c_z)
  q = h U_n + c_n
  n = tanh(a_n + b_n + r * q)
  h' = (1 - z) * n + z * h

Since s' = s (1 - s) and tanh' = 1 - tanh^2, the chain rule from the last line up is

  d_an = d_h' * (1 - z) * (1 - n^2)
  d_az = d_h' * (h - n) * z * (1 - z)
  d_ar = d_an * q * r * (1 - r)
  d_q  = d_an * r
  d_h  = d_h' * z + d_ar U_r^T + d_az U_z^T + d_q U_n^T

and without reset_after (the sources' form), n = tanh(a_n + b_n + (r * h) U_n) and
h' = (1 - z) * h + z * n, so

  d_an = d_h' * z * (1 - n^2)
  d_az = d_h' * (n - h) * z * (1 - z)
  d_rh = d_an U_n^T                       (the cotangent of r * h)
  d_ar = d_rh * h * r * (1 - r)
  d_h  = d_h' * (1 - z) + d_rh * r + d_ar U_r^T + d_az U_z^T

Through time, d_h of a step is the next d_h' of the step before it, plus that step's
own output cotangent. The cotangent of b_r is that of a_r summed over steps and
examples, and so on. A weight's gradient sums over steps, U_r: sum_t h_{t-1}^T d_ar_t.
The sum is one matrix product over all steps and examples at once, after the loop,
where automatic differentiation adds one small product per step inside it; this is
what makes the rule faster.

Source: Cho et al. (2014) for the cell; the derivation is the chain rule above.
"""

import jax
from jax import lax
import jax.numpy as jnp

_sigmoid = jax.nn.sigmoid


def _kernels(weights):
  """(U, c) with reset_after, else (U_rz, U_n): cut once, before the loop."""
  hidden = weights["hidden"]
  if "hidden_bias" in weights:
    return hidden, weights["hidden_bias"]
  return tuple(jnp.split(hidden, [2 * hidden.shape[0]], axis=-1))


def _step_after(kernels, biases, h, gates):
  """One step with reset_after: (h', what the backward pass needs)."""
  (hidden, hidden_bias), (a_r, a_z, a_n), (b_r, b_z, b_n) = kernels, gates, biases
  h_r, h_z, q = jnp.split(h @ hidden + hidden_bias, 3, axis=-1)
  r, z = _sigmoid(a_r + b_r + h_r), _sigmoid(a_z + b_z + h_z)
  n = jnp.tanh(a_n + b_n + r * q)
  return (1 - z) * n + z * h, (r, z, n, q)


def _step_before(kernels, biases, h, gates):
  """One step without reset_after: (h', what the backward pass needs)."""
  (hidden_rz, hidden_n), (a_r, a_z, a_n), (b_r, b_z, b_n) = kernels, gates, biases
  h_r, h_z = jnp.split(h @ hidden_rz, 2, axis=-1)
  r, z = _sigmoid(a_r + b_r + h_r), _sigmoid(a_z + b_z + h_z)
  n = jnp.tanh(a_n + b_n + (r * h) @ hidden_n)
  return (1 - z) * h + z * n, (r, z, n)


def _step_after_vjp(d_h, h, saved, hidden_t):
  """The lines of the module's text with reset_after: d_h, (d_ar, d_az, d_an), d_q.

  hidden_t is U^T.
  """
  r, z, n, q = saved
  d_an = d_h * (1 - z) * (1 - n * n)
  d_az = d_h * (h - n) * z * (1 - z)
  d_ar = d_an * q * r * (1 - r)
  d_q = d_an * r
  d_h = d_h * z + jnp.concatenate([d_ar, d_az, d_q], axis=-1) @ hidden_t
  return d_h, (d_ar, d_az, d_an), d_q


def _step_before_vjp(d_h, h, saved, hidden_t):
  """The same without reset_after: d_h, (d_ar, d_az, d_an), and r * h for U_n's gradient.

  hidden_t is (U_rz^T, U_n^T).
  """
  r, z, n = saved
  hidden_rz_t, hidden_n_t = hidden_t
  d_an = d_h * z * (1 - n * n)
  d_az = d_h * (n - h) * z * (1 - z)
  d_rh = d_an @ hidden_n_t
  d_ar = d_rh * h * r * (1 - r)
  d_h = d_h * (1 - z) + d_rh * r + jnp.concatenate([d_ar, d_az], axis=-1) @ hidden_rz_t
  return d_h, (d_ar, d_az, d_an), r * h


def step(weights, h, gates):
  """One step h -> h', and the values that the backward pass needs.

  Args:
    weights: `hidden (H, 3H)` and `bias (3H,)`, columns r, z, n; `hidden_bias (3H,)`
      makes it the form with reset_after.
    h: the state, `(..., H)`.
    gates: (a_r, a_z, a_n), each `(..., H)`.

  Returns:
    (h', saved), saved being r, z, n and, with reset_after, q.
  """
  one_step = _step_after if "hidden_bias" in weights else _step_before
  return one_step(_kernels(weights), jnp.split(weights["bias"], 3), h, gates)


def unroll_fwd(weights, gates, carry, *, reverse=False):
  """All steps, with time as the first axis: ys `(T, ..., H)` and what they leave.

  Args:
    weights: as for `step`.
    gates: (a_r, a_z, a_n), each `(T, ..., H)`.
    carry: the first state, `(..., H)`.
    reverse: from the last step to the first.

  Returns:
    ((last state, ys), saved) where saved is for `unroll_vjp`.
  """

  one_step = _step_after if "hidden_bias" in weights else _step_before
  kernels, biases = _kernels(weights), jnp.split(weights["bias"], 3)

  def body(h, a):
    new_h, saved = one_step(kernels, biases, h, a)
    return new_h, (new_h, saved)

  last, (ys, saved) = lax.scan(body, carry, gates, reverse=reverse)
  return (last, ys), (weights, carry, ys, saved)


def _contract(x, y):
  """sum over all leading dimensions of x^T y: (..., A), (..., B) -> (A, B)."""
  axes = tuple(range(x.ndim - 1))
  return jnp.tensordot(x, y, axes=(axes, axes))


def _contract_and_sum(x, y):
  """(sum of x^T y, sum of y) over all leading dimensions, as the product [x 1]^T y.

  A sum of its own over two dimensions runs on one core in XLA's CPU code, and reads
  all of y once more.
  """
  ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
  both = _contract(jnp.concatenate([x, ones], axis=-1), y)
  return both[:-1], both[-1]


def unroll_vjp(saved, d_out, *, reverse=False):
  """Cotangents of (weights, gates, carry) of `unroll_fwd`.

  Args:
    saved: the second value of `unroll_fwd`.
    d_out: (d_last, d_ys), `(..., H)` and `(T, ..., H)`.
    reverse: as in the forward pass.
  """
  weights, carry, ys, steps = saved
  d_last, d_ys = d_out
  reset_after = "hidden_bias" in weights
  if reverse:
    before = jnp.concatenate([ys, carry[None]])[1:]
  else:
    before = jnp.concatenate([carry[None], ys])[:-1]
  if reset_after:
    step_vjp, hidden_t = _step_after_vjp, weights["hidden"].T
  else:
    step_vjp, hidden_t = _step_before_vjp, [kernel.T for kernel in _kernels(weights)]

  def body(d_h, x):
    d_y, h, values = x
    d_h, *d = step_vjp(d_h + d_y, h, values, hidden_t)
    return d_h, d

  d_carry, (d_gates, extra) = lax.scan(
      body, d_last, (d_ys, before, steps), reverse=not reverse
  )
  d_ar, d_az, d_an = d_gates
  if reset_after:
    d_products = jnp.concatenate([d_ar, d_az, extra], axis=-1)
    d_hidden, d_hidden_bias = _contract_and_sum(before, d_products)
    d_rz_bias = d_hidden_bias[: 2 * d_an.shape[-1]]
    d_weights = {"hidden": d_hidden, "hidden_bias": d_hidden_bias}
  else:
    d_rz, d_rz_bias = _contract_and_sum(before, jnp.concatenate([d_ar, d_az], axis=-1))
    d_weights = {"hidden": jnp.concatenate([d_rz, _contract(extra, d_an)], axis=-1)}
  # Eight equal rows: a product of a single row takes XLA's slow way on CPU.
  d_n_bias = _contract(jnp.ones((*d_an.shape[:-1], 8), d_an.dtype), d_an)[0]
  d_weights["bias"] = jnp.concatenate([d_rz_bias, d_n_bias])
  return d_weights, d_gates, d_carry


def scan_vjp(params, xs, carry, *, d_out, lengths=None, reverse=False, reset_after=False):
  """The vector-Jacobian product of `dlx.layers.gru.scan`.

  The input product a = x W adds, with d_a = [d_ar d_az d_an] of all steps,
  d_x = d_a W^T and d_W = sum x^T d_a. A step beyond `lengths` copies its state and
  outputs zero: z is 1 there (0 in the form without reset_after), every factor that
  reaches a gate or a weight vanishes, and d_h passes unchanged.

  Args:
    params: `input (D, 3H)`, `hidden (H, 3H)`, `bias (3H,)`, with reset_after also
      `hidden_bias (3H,)`.
    xs: `(..., T, D)`.
    carry: `(..., H)`.
    d_out: (d_carry, d_ys), `(..., H)` and `(..., T, H)`.
    lengths, reverse, reset_after: as in the layer.

  Returns:
    (d_params, d_xs, d_carry), in the shapes of params, xs and carry.
  """
  d_last, d_ys = d_out
  x = jnp.moveaxis(xs, -2, 0)
  d_y = jnp.moveaxis(d_ys, -2, 0)
  valid = None
  if lengths is not None:
    steps = jnp.arange(x.shape[0]).reshape((-1,) + (1,) * jnp.ndim(lengths))
    valid = (steps < lengths)[..., None]
    x, d_y = (jnp.where(valid, v, jnp.zeros((), v.dtype)) for v in (x, d_y))
  gates = jnp.split(x @ params["input"], 3, axis=-1)
  if valid is not None:
    gates = hold(gates, valid, reset_after)
  weights = {name: params[name] for name in ("hidden", "bias", "hidden_bias") if name in params}
  _, saved = unroll_fwd(weights, gates, carry, reverse=reverse)
  d_weights, d_gates, d_carry = unroll_vjp(saved, (d_last, d_y), reverse=reverse)
  d_a = jnp.concatenate(d_gates, axis=-1)
  d_params = {"input": _contract(x, d_a), **d_weights}
  return d_params, jnp.moveaxis(d_a @ params["input"].T, 0, -2), d_carry


def hold(gates, valid, reset_after):
  """Shuts the update gate of padding, so that the state stays as it is.

  h' = h exactly where z = s(inf) = 1 with reset_after, or z = s(-inf) = 0 without;
  the factor z (1 - z) is 0 there, so no gradient passes to a gate or a weight.

  Args:
    gates: (a_r, a_z, a_n), each `(T, ..., H)`.
    valid: `(T, ..., 1)`, False in the padding.
    reset_after: the form.

  Returns:
    The gates with a_z replaced in the padding.
  """
  a_r, a_z, a_n = gates
  shut = jnp.array(jnp.inf if reset_after else -jnp.inf, a_z.dtype)
  return a_r, jnp.where(valid, a_z, shut), a_n
