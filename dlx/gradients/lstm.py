"""The gradient of long short-term memory through time, derived by hand.

Notation: s is the sigmoid, * the elementwise product, d_v the cotangent of v.
With a_k = x W_k + h U_k + b_k for each gate k of i, f, g, o, one step is

  i, f, o = s(a_i), s(a_f), s(a_o)      g = tanh(a_g)
  c' = f * c + i * g
  h' = o * tanh(c')

c' enters the next step and h', so its cotangent has two terms. With s' = s (1 - s) and
tanh' = 1 - tanh^2 the chain rule, from the last equation to the first, gives

  d_c'  = (d_c' of the next step) + d_h' * o * (1 - tanh(c')^2)
  d_a_o = d_h' * tanh(c') * o * (1 - o)
  d_a_i = d_c' * g * i * (1 - i)
  d_a_f = d_c' * c * f * (1 - f)
  d_a_g = d_c' * i * (1 - g^2)
  d_c   = d_c' * f
  d_h   = d_a U^T      d_x = d_a W^T                  with d_a all four concatenated
  d_U   = h^T d_a      d_W = x^T d_a      d_b = d_a

From d_c' to d_c there is no matrix product and, with f near 1, no attenuation, which is why
the cell remembers. Through time, d_h of a step is added to the cotangent of the previous
output, and d_W, d_U and d_b are sums over the steps (see bptt).

Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997), and Gers,
  Schmidhuber, Cummins (2000) for the cell; the derivation is the chain rule above.
"""

import jax
import jax.numpy as jnp

from dlx.gradients import bptt

_sigmoid = jax.nn.sigmoid


def step(params, carry, gates):
  """One step: ((c', h'), (i, f, g, o)), the latter for the backward pass.

  Args:
    params: `hidden (H, 4H)` and `bias (4H,)`, columns i, f, g, o.
    carry: (c, h), each `(..., H)`.
    gates: the input products of i, f, g, o, each `(..., H)`.
  """
  c, h = carry
  hidden_gates = jnp.split(h @ params["hidden"], 4, axis=-1)
  biases = jnp.split(params["bias"], 4)
  i, f, g, o = (x + u + b for x, u, b in zip(gates, hidden_gates, biases))
  i, f, g, o = _sigmoid(i), _sigmoid(f), jnp.tanh(g), _sigmoid(o)
  c = f * c + i * g
  return (c, o * jnp.tanh(c)), (i, f, g, o)


def _step_vjp(d_c, d_h, c, new_c, gates, hidden_t):
  """The module's equations: (d_c, d_h) of the previous state, and d_a.

  d_c and d_h are given for the next state; hidden_t is U^T.
  """
  i, f, g, o = gates
  tanh_c = jnp.tanh(new_c)
  d_c = d_c + d_h * o * (1 - tanh_c * tanh_c)
  d_i = d_c * g * i * (1 - i)
  d_f = d_c * c * f * (1 - f)
  d_g = d_c * i * (1 - g * g)
  d_o = d_h * tanh_c * o * (1 - o)
  d_a = jnp.concatenate([d_i, d_f, d_g, d_o], axis=-1)
  return (d_c * f, d_a @ hidden_t), d_a


def cell_vjp(params, carry, x, *, d_out):
  """The vector-Jacobian product of `dlx.layers.lstm.cell`.

  The module's equations, with d_h' the sum of the cotangents of the carry's h and of y,
  which are the same value.

  Args:
    params: `input (D, 4H)`, `hidden (H, 4H)`, `bias (4H,)`.
    carry: (c, h), each `(..., H)`.
    x: `(..., D)`.
    d_out: ((d_c, d_h), d_y), each `(..., H)`.

  Returns:
    (d_params, d_carry, d_x), in the shapes and dtypes of params, carry and x.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output.
  """
  (d_c, d_h), d_y = d_out
  c, h = carry
  gates = bptt.gate_inputs(params["input"], x, 4)
  (new_c, new_h), gates = step(params, carry, gates)
  bptt.expect_cotangents(("c", "h", "y"), d_out, (new_c, new_h, new_h))
  d_carry, d_a = _step_vjp(d_c, d_h + d_y, c, new_c, gates, params["hidden"].T)
  d_params, d_x = bptt.params_vjp(params, x, h, d_a)
  return d_params, bptt.like(d_carry, carry), d_x


def unroll_fwd(params, xs, carry, valid, *, reverse):
  """All steps: (final (c, h), all h `(T, ..., H)`), and the residuals for `unroll_vjp`.

  Args:
    params, carry: as for `cell_vjp`.
    xs: `(T, ..., D)`, or ids `(T, ...)`; finite in padding.
    valid: `(T, ..., 1)` or None.
    reverse: run from the last step to the first.
  """
  inputs = bptt.gate_inputs(params["input"], xs, 4)
  last, (states, gates) = bptt.forward(
      lambda state, a: step(params, state, a), inputs, carry, valid=valid, reverse=reverse
  )
  return (last, states[1]), (params, xs, carry, valid, states, gates)


def unroll_vjp(saved, d_out, *, reverse):
  """The cotangents of params, xs and carry of `unroll_fwd`, from those of its outputs."""
  params, xs, carry, valid, states, gates = saved
  d_last, d_hs = d_out
  hidden_t = params["hidden"].T
  before_c, before_h = bptt.before(carry, states, reverse=reverse)

  def step_vjp(d_carry, x):
    d_y, *values = x
    d_c, d_h = d_carry
    return _step_vjp(d_c, d_h + d_y, *values, hidden_t)

  d_carry, d_a = bptt.backward(
      step_vjp, (d_hs, before_c, states[0], gates), d_last, valid=valid, reverse=reverse
  )
  d_params, d_xs = bptt.params_vjp(params, xs, before_h, d_a)
  return d_params, d_xs, d_carry


def scan_vjp(params, xs, carry, *, d_out, lengths=None, reverse=False):
  """The vector-Jacobian product of `dlx.layers.lstm.scan`.

  The module's equations for each step, in reverse order. Beyond `lengths` a step copies its
  state and outputs zero: d_c and d_h are passed on unchanged, d_a is zero.

  Args:
    params: `input (D, 4H)`, `hidden (H, 4H)`, `bias (4H,)`.
    xs: `(..., T, D)`.
    carry: the initial (c, h), each `(..., H)`.
    d_out: ((d_c, d_h), d_ys), twice `(..., H)` and `(..., T, H)`.
    lengths, reverse: as in the layer.

  Returns:
    (d_params, d_xs, d_carry), in the shapes and dtypes of params, xs and carry.

  Raises:
    ValueError: a part of d_out does not have the shape or the dtype of its output.
  """
  return bptt.scan_vjp(
      unroll_fwd,
      unroll_vjp,
      params,
      xs,
      carry,
      names=("c", "h", "ys"),
      d_out=d_out,
      lengths=lengths,
      reverse=reverse,
  )
