"""The gradient of the simple recurrent layer through time, derived by hand.

One step is h' = f(a), a = x W + h U + b, with an elementwise activation f, so with d_v the
cotangent of v and * the elementwise product,

  d_a = d_h' * f'(a)
  d_h = d_a U^T      d_x = d_a W^T
  d_U = h^T d_a      d_W = x^T d_a      d_b = d_a

For both activations here f' is a function of the output h', so a is not saved:

  tanh:  f'(a) = 1 - tanh(a)^2 = 1 - h'^2
  relu:  f'(a) = [a > 0] = [h' > 0], as h' = max(a, 0) is positive exactly where a is

At a = 0, where relu has no derivative, this chooses 0, as jax.nn.relu does.

Through time, d_h of a step is added to the cotangent of the previous output, and d_W, d_U
and d_b are sums over the steps (see bptt).

Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating
  errors" (1986), for the step; Werbos (1990) for time.
"""

import functools

import jax
import jax.numpy as jnp

from dlx.gradients import bptt

ACTIVATIONS = (jnp.tanh, jax.nn.relu)  # Those with a rule here.


def step(params, h, gates, activation=jnp.tanh):
  """One step: h', from the input product (a,) and h, `(..., H)`."""
  return activation(gates[0] + h @ params["hidden"] + params["bias"])


def _step_vjp(d_h, h, hidden_t, activation):
  """(cotangent of the state before, d_a); h is the state after, hidden_t is U^T."""
  if activation is jax.nn.relu:
    d_a = jnp.where(h > 0, d_h, jnp.zeros_like(d_h))
  else:
    d_a = d_h * (1 - h * h)
  return d_a @ hidden_t, d_a


def _expect(activation):
  if activation not in ACTIVATIONS:
    raise ValueError(f"activation: expected jnp.tanh or jax.nn.relu, got {activation!r}")


def cell_vjp(params, carry, x, *, d_out, activation=jnp.tanh):
  """The vector-Jacobian product of `dlx.layers.rnn.cell`.

  The module's equations, with d_h' the sum of the cotangents of both outputs, which are the
  same value.

  Args:
    params: `input (D, H)`, `hidden (H, H)`, `bias (H,)`.
    carry: h, `(..., H)`.
    x: `(..., D)`.
    d_out: (d_carry, d_y), each `(..., H)`.
    activation: f, jnp.tanh or jax.nn.relu.

  Returns:
    (d_params, d_carry, d_x), in the shapes and dtypes of params, carry and x.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output, or
      activation has no rule.
  """
  _expect(activation)
  h = step(params, carry, bptt.gate_inputs(params["input"], x, 1), activation)
  bptt.expect_cotangents(("carry", "y"), d_out, (h, h))
  d_h, d_a = _step_vjp(d_out[0] + d_out[1], h, params["hidden"].T, activation)
  d_params, d_x = bptt.params_vjp(params, x, carry, d_a)
  return d_params, d_h.astype(carry.dtype), d_x


def unroll_fwd(params, xs, carry, valid, *, reverse, activation):
  """All steps: (final state, all states `(T, ..., H)`), and the residuals for `unroll_vjp`.

  Args:
    params, carry: as for `cell_vjp`.
    xs: `(T, ..., D)`, or ids `(T, ...)`; finite in padding.
    valid: `(T, ..., 1)` or None.
    reverse: run from the last step to the first.
    activation: f, jnp.tanh or jax.nn.relu.
  """
  gates = bptt.gate_inputs(params["input"], xs, 1)
  last, (hs, _) = bptt.forward(
      lambda h, a: (step(params, h, a, activation), None),
      gates,
      carry,
      valid=valid,
      reverse=reverse,
  )
  return (last, hs), (params, xs, carry, valid, hs)


def unroll_vjp(saved, d_out, *, reverse, activation):
  """The cotangents of params, xs and carry of `unroll_fwd`, from those of its outputs."""
  params, xs, carry, valid, hs = saved
  d_last, d_hs = d_out
  hidden_t = params["hidden"].T

  def step_vjp(d_h, x):
    d_y, h = x
    return _step_vjp(d_h + d_y, h, hidden_t, activation)

  d_carry, d_a = bptt.backward(
      step_vjp, (d_hs, hs), d_last, valid=valid, reverse=reverse
  )
  before = bptt.before(carry, hs, reverse=reverse)
  d_params, d_xs = bptt.params_vjp(params, xs, before, d_a)
  return d_params, d_xs, d_carry


def scan_vjp(
    params, xs, carry, *, d_out, lengths=None, reverse=False, activation=jnp.tanh
):
  """The vector-Jacobian product of `dlx.layers.rnn.scan`.

  The module's equations for each step, in reverse order. Beyond `lengths` a step copies its
  state and outputs zero: d_h is passed on unchanged, d_a is zero.

  Args:
    params: `input (D, H)`, `hidden (H, H)`, `bias (H,)`.
    xs: `(..., T, D)`.
    carry: the initial state, `(..., H)`.
    d_out: (d_carry, d_ys), `(..., H)` and `(..., T, H)`.
    lengths, reverse: as in the layer.
    activation: f, jnp.tanh or jax.nn.relu.

  Returns:
    (d_params, d_xs, d_carry), in the shapes and dtypes of params, xs and carry.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output, or
      activation has no rule.
  """
  _expect(activation)
  return bptt.scan_vjp(
      functools.partial(unroll_fwd, activation=activation),
      functools.partial(unroll_vjp, activation=activation),
      params,
      xs,
      carry,
      names=("carry", "ys"),
      d_out=d_out,
      lengths=lengths,
      reverse=reverse,
  )
