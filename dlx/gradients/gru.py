"""The gradient of the GRU through time, derived by hand.

Notation: s is the sigmoid, * the elementwise product, d_v the cotangent (the derivative of
the loss with respect to v), of the same shape as v. a_r, a_z, a_n are the input products
x W of a step, b the bias and c the hidden bias. One step is, with reset_after,

  r = s(a_r + b_r + h U_r + c_r)
  z = s(a_z + b_z + h U_z + c_z)
  q = h U_n + c_n
  n = tanh(a_n + b_n + r * q)
  h' = (1 - z) * n + z * h

Since s' = s (1 - s) and tanh' = 1 - tanh^2, the chain rule, from the last equation to the
first, gives

  d_an = d_h' * (1 - z) * (1 - n^2)
  d_az = d_h' * (h - n) * z * (1 - z)
  d_ar = d_an * q * r * (1 - r)
  d_q  = d_an * r
  d_h  = d_h' * z + d_ar U_r^T + d_az U_z^T + d_q U_n^T

and without reset_after (the form of the sources), n = tanh(a_n + b_n + (r * h) U_n) and
h' = (1 - z) * h + z * n, so

  d_an = d_h' * z * (1 - n^2)
  d_az = d_h' * (n - h) * z * (1 - z)
  d_rh = d_an U_n^T                       (the cotangent of r * h)
  d_ar = d_rh * h * r * (1 - r)
  d_h  = d_h' * (1 - z) + d_rh * r + d_ar U_r^T + d_az U_z^T

Through time, d_h of a step is added to the cotangent of the previous output. The cotangent
of b_r is that of a_r summed over steps and examples, and likewise for the others; that of
U_r is sum_t h_{t-1}^T d_ar_t, that of U_n has d_q in place of d_an, or r * h in place of h
(see bptt for the sums).

Source: Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014)
  for the cell; the derivation is the chain rule above.
"""

import jax
import jax.numpy as jnp

from dlx.gradients import bptt, linear

_sigmoid = jax.nn.sigmoid


def _kernels(params):
  """(U, c) with reset_after, else (U_rz, U_n), split once before the loop."""
  hidden = params["hidden"]
  if "hidden_bias" in params:
    return hidden, params["hidden_bias"]
  return tuple(jnp.split(hidden, [2 * hidden.shape[0]], axis=-1))


def _step_after(kernels, biases, h, gates):
  """One step with reset_after: (h', residuals)."""
  (hidden, hidden_bias), (a_r, a_z, a_n), (b_r, b_z, b_n) = kernels, gates, biases
  h_r, h_z, q = jnp.split(h @ hidden + hidden_bias, 3, axis=-1)
  r, z = _sigmoid(a_r + b_r + h_r), _sigmoid(a_z + b_z + h_z)
  n = jnp.tanh(a_n + b_n + r * q)
  return (1 - z) * n + z * h, (r, z, n, q)


def _step_before(kernels, biases, h, gates):
  """One step without reset_after: (h', residuals)."""
  (hidden_rz, hidden_n), (a_r, a_z, a_n), (b_r, b_z, b_n) = kernels, gates, biases
  h_r, h_z = jnp.split(h @ hidden_rz, 2, axis=-1)
  r, z = _sigmoid(a_r + b_r + h_r), _sigmoid(a_z + b_z + h_z)
  n = jnp.tanh(a_n + b_n + (r * h) @ hidden_n)
  return (1 - z) * h + z * n, (r, z, n)


def _step_after_vjp(d_h, h, saved, hidden_t):
  """The backward equations with reset_after: d_h, (d_ar, d_az, d_an), d_q.

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
  """The backward equations without reset_after: d_h, (d_ar, d_az, d_an), and r * h.

  r * h is needed for U_n's gradient. hidden_t is (U_rz^T, U_n^T).
  """
  r, z, n = saved
  hidden_rz_t, hidden_n_t = hidden_t
  d_an = d_h * z * (1 - n * n)
  d_az = d_h * (n - h) * z * (1 - z)
  d_rh = d_an @ hidden_n_t
  d_ar = d_rh * h * r * (1 - r)
  d_h = d_h * (1 - z) + d_rh * r + jnp.concatenate([d_ar, d_az], axis=-1) @ hidden_rz_t
  return d_h, (d_ar, d_az, d_an), r * h


def step(params, h, gates):
  """One step h -> h', and the residuals for the backward pass.

  Args:
    params: `hidden (H, 3H)` and `bias (3H,)`, columns r, z, n; with reset_after also
      `hidden_bias (3H,)`.
    h: the state, `(..., H)`.
    gates: (a_r, a_z, a_n), each `(..., H)`.

  Returns:
    (h', residuals): r, z, n and, with reset_after, q.
  """
  one_step = _step_after if "hidden_bias" in params else _step_before
  return one_step(_kernels(params), jnp.split(params["bias"], 3), h, gates)


def _transposed(params):
  """(`_step_after_vjp` or `_step_before_vjp`, its argument hidden_t)."""
  if "hidden_bias" in params:
    return _step_after_vjp, params["hidden"].T
  return _step_before_vjp, [kernel.T for kernel in _kernels(params)]


def _params_vjp(params, x, h, d_gates, extra):
  """(d_params, d_x) from the results of the step's vjp, summed over leading dimensions.

  h is the state before each step.
  """
  d_ar, d_az, d_an = d_gates
  if "hidden_bias" in params:
    d_products = jnp.concatenate([d_ar, d_az, extra], axis=-1)
    d_hidden, d_hidden_bias = bptt.contract_and_sum(h, d_products)
    d_rz_bias = d_hidden_bias[: 2 * h.shape[-1]]
    d_params = {"hidden": d_hidden, "hidden_bias": d_hidden_bias}
  else:
    d_rz = jnp.concatenate([d_ar, d_az], axis=-1)
    d_rz, d_rz_bias = bptt.contract_and_sum(h, d_rz)
    d_hidden = jnp.concatenate([d_rz, linear.contract(extra, d_an)], axis=-1)
    d_params = {"hidden": d_hidden}
  # Eight equal rows, because XLA's product with a single row is slow on CPU.
  d_n_bias = linear.contract(jnp.ones((*d_an.shape[:-1], 8), d_an.dtype), d_an)[0]
  d_params["bias"] = jnp.concatenate([d_rz_bias, d_n_bias])
  d_a = jnp.concatenate(d_gates, axis=-1)
  d_params["input"], d_x = bptt.gate_inputs_vjp(params["input"], x, d_a)
  return bptt.like(d_params, params), d_x


def cell_vjp(params, carry, x, *, d_out, reset_after=False):
  """The vector-Jacobian product of `dlx.layers.gru.cell`.

  The module's equations, with d_h' the sum of the cotangents of both outputs, which are the
  same value.

  Args:
    params: `input (D, 3H)`, `hidden (H, 3H)`, `bias (3H,)`, with reset_after also
      `hidden_bias (3H,)`.
    carry: h, `(..., H)`.
    x: `(..., D)`.
    d_out: (d_carry, d_y), each `(..., H)`.
    reset_after: the form.

  Returns:
    (d_params, d_carry, d_x), in the shapes and dtypes of params, carry and x.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output, or
      reset_after and the presence of hidden_bias disagree.
  """
  expect_form(params, reset_after)
  gates = bptt.gate_inputs(params["input"], x, 3)
  h, saved = step(params, carry, gates)
  bptt.expect_cotangents(("carry", "y"), d_out, (h, h))
  step_vjp, hidden_t = _transposed(params)
  d_h, *d = step_vjp(d_out[0] + d_out[1], carry, saved, hidden_t)
  d_params, d_x = _params_vjp(params, x, carry, *d)
  return d_params, d_h.astype(carry.dtype), d_x


def unroll_fwd(params, xs, carry, valid, *, reverse):
  """All steps: (final state, all states `(T, ..., H)`), and the residuals for `unroll_vjp`.

  Args:
    params, carry: as for `cell_vjp`.
    xs: `(T, ..., D)`, or ids `(T, ...)`; finite in padding.
    valid: `(T, ..., 1)` or None.
    reverse: run from the last step to the first.
  """
  gates = bptt.gate_inputs(params["input"], xs, 3)
  one_step = _step_after if "hidden_bias" in params else _step_before
  kernels, biases = _kernels(params), jnp.split(params["bias"], 3)

  def body(h, a):
    return one_step(kernels, biases, h, a)

  last, (hs, values) = bptt.forward(body, gates, carry, valid=valid, reverse=reverse)
  return (last, hs), (params, xs, carry, valid, hs, values)


def unroll_vjp(saved, d_out, *, reverse):
  """The cotangents of params, xs and carry of `unroll_fwd`, from those of its outputs."""
  params, xs, carry, valid, hs, values = saved
  d_last, d_hs = d_out
  one_step_vjp, hidden_t = _transposed(params)
  before = bptt.before(carry, hs, reverse=reverse)

  def step_vjp(d_h, x):
    d_y, h, values = x
    d_h, *d = one_step_vjp(d_h + d_y, h, values, hidden_t)
    return d_h, d

  d_carry, d = bptt.backward(
      step_vjp, (d_hs, before, values), d_last, valid=valid, reverse=reverse
  )
  d_params, d_xs = _params_vjp(params, xs, before, *d)
  return d_params, d_xs, d_carry


def scan_vjp(params, xs, carry, *, d_out, lengths=None, reverse=False, reset_after=False):
  """The vector-Jacobian product of `dlx.layers.gru.scan`.

  The module's equations for each step, in reverse order. Beyond `lengths` a step copies its
  state and outputs zero: d_h is passed on unchanged, the rest is zero.

  Args:
    params: `input (D, 3H)`, `hidden (H, 3H)`, `bias (3H,)`, with reset_after also
      `hidden_bias (3H,)`.
    xs: `(..., T, D)`.
    carry: the initial state, `(..., H)`.
    d_out: (d_carry, d_ys), `(..., H)` and `(..., T, H)`.
    lengths, reverse, reset_after: as in the layer.

  Returns:
    (d_params, d_xs, d_carry), in the shapes and dtypes of params, xs and carry.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output, or
      reset_after and the presence of hidden_bias disagree.
  """
  expect_form(params, reset_after)
  return bptt.scan_vjp(
      unroll_fwd,
      unroll_vjp,
      params,
      xs,
      carry,
      names=("carry", "ys"),
      d_out=d_out,
      lengths=lengths,
      reverse=reverse,
  )


def expect_form(params, reset_after):
  """Raises ValueError unless params have a hidden_bias if and only if reset_after."""
  if ("hidden_bias" in params) != reset_after:
    have, wants = ("a", "no") if "hidden_bias" in params else ("no", "a")
    raise ValueError(
        f"reset_after: params have {have} hidden_bias, but reset_after={reset_after} "
        f"means {wants} hidden_bias"
    )
