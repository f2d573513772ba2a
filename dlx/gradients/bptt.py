"""Backpropagation through time (BPTT), shared by the rules of rnn, gru and lstm.

A recurrent layer is s_t = step(s_{t-1}, x_t), with the same weights w in every step. The
loss depends on s_t through the output y_t and through the next step, so with J the
Jacobian of a step,

  d_s_t   = (cotangent of y_t) + J_{t+1}^T d_s_{t+1}
  d_w     = sum over t of (ds_t / dw)^T d_s_t
  d_s_0   = J_1^T d_s_1

which is one loop from the last step to the first. Only the recursion of d_s needs the loop.
A step computes s from a_t = x_t W + s_{t-1} U + b, so after the loop, given d_a of all
steps, the sums d_W = sum x_t^T d_a_t, d_U = sum s_{t-1}^T d_a_t, d_b = sum d_a_t are single
matrix products over all steps and examples. The rules are faster than automatic
differentiation because that adds one small product per step inside the loop.

A step of padding copies the state, so it passes d_s on and contributes nothing else.

Time is the first axis here, because `lax.scan` loops over the first axis; `valid` is a
mask (T, ..., 1), or None if every step is valid.

Source: Werbos, "Backpropagation through time: what it does and how to do it" (1990).
"""

import jax
from jax import lax
import jax.numpy as jnp

from dlx.gradients import checks, embedding, linear


def valid_steps(lengths, steps):
  """True where step t < length: lengths `(...)` -> `(steps, ..., 1)`; None for None."""
  if lengths is None:
    return None
  times = jnp.arange(steps).reshape((-1,) + (1,) * jnp.ndim(lengths))
  return (times < lengths)[..., None]


def select(valid, new, old):
  """`new` where valid and `old` elsewhere, for every leaf; `new` if valid is None."""
  if valid is None:
    return new
  return jax.tree.map(lambda n, o: jnp.where(valid, n, o), new, old)


def zero_padding(valid, tree):
  """Zeros every leaf where not valid, also where it is nan."""
  return select(valid, tree, jax.tree.map(jnp.zeros_like, tree))


def gate_inputs(kernel, xs, gates):
  """The input product x W of all steps, hoisted out of the loop, one array per gate.

  The product of a one-hot x is a row of W, so integer ids are looked up.

  There is one array per gate instead of one wide array that is sliced in the loop, so that
  elementwise operations read contiguous memory, which makes the forward loop of a GRU 25 %
  faster on CPU. The step adds the bias.
  """
  if jnp.issubdtype(xs.dtype, jnp.integer):
    product = lambda w: w.at[xs].get(mode="fill", wrap_negative_indices=False)  # noqa: E731
    rows = xs.size
  else:
    product, rows = lambda w: xs @ w, xs.size // xs.shape[-1]
  if rows < kernel.shape[0]:  # Splitting the result copies less than splitting the kernel.
    return tuple(jnp.split(product(kernel), gates, axis=-1))
  return tuple(product(w) for w in jnp.split(kernel, gates, axis=-1))


def gate_inputs_vjp(kernel, xs, d_a):
  """(d_kernel, d_xs) from the concatenated cotangents of all gates; d_xs is None for ids."""
  if jnp.issubdtype(xs.dtype, jnp.integer):
    table = embedding.lookup_vjp({"embedding": kernel}, ids=xs, d_out=d_a.astype(kernel.dtype))
    return table["embedding"], None
  return linear.contract(xs, d_a).astype(kernel.dtype), (d_a @ kernel.T).astype(xs.dtype)


def forward(step, inputs, carry, *, valid, reverse):
  """Runs `step(carry, inputs[t]) -> (carry, saved)` for all t.

  An invalid step does not change the carry. With `reverse` the loop runs from the last step
  to the first, so effectively from the last valid step.

  Returns:
    (final carry, (the carry after each step, saved of each step)).
  """

  def body(carry, x):
    x, keep = x
    new, saved = step(carry, x)
    new = select(keep, new, carry)
    return new, (new, saved)

  return lax.scan(body, carry, (inputs, valid), reverse=reverse)


def before(first, states, *, reverse):
  """The state before each step, from the initial state and the states after each step."""

  def shift(first, states):
    if reverse:
      return jnp.concatenate([states, first[None]])[1:]
    return jnp.concatenate([first[None], states])[:-1]

  return jax.tree.map(shift, first, states)


def backward(step_vjp, inputs, d_carry, *, valid, reverse):
  """Runs `step_vjp(d_carry, inputs[t]) -> (d_carry before, d)` in the reverse of `forward`.

  Returns:
    (d_carry of the initial state, d of each step, zero where not valid).
  """

  def body(d_carry, x):
    x, keep = x
    d_before, d = step_vjp(d_carry, x)
    return select(keep, d_before, d_carry), zero_padding(keep, d)

  return lax.scan(body, d_carry, (inputs, valid), reverse=not reverse)


def contract_and_sum(x, y):
  """(sum of x^T y, sum of y) over all leading dimensions, as the product [x 1]^T y.

  On CPU, XLA computes a separate sum over two dimensions on one core, and it would read all
  of y again.
  """
  ones = jnp.ones((*x.shape[:-1], 1), x.dtype)
  both = linear.contract(jnp.concatenate([x, ones], axis=-1), y)
  return both[:-1], both[-1]


def params_vjp(params, x, h, d_a):
  """(d_params, d_x) of a = x W + h U + b, summed over leading dimensions."""
  d_input, d_x = gate_inputs_vjp(params["input"], x, d_a)
  d_hidden, d_bias = contract_and_sum(h, d_a)
  return like({"input": d_input, "hidden": d_hidden, "bias": d_bias}, params), d_x


def like(tree, other):
  """Casts each leaf to the dtype of the other tree's leaf."""
  return jax.tree.map(lambda x, y: x.astype(y.dtype), tree, other)


def expect_cotangents(names, d_out, out):
  """Raises ValueError unless the leaves of d_out have the shapes and dtypes of out's."""
  for name, d, value in zip(names, jax.tree.leaves(d_out), jax.tree.leaves(out)):
    checks.expect_like(f"d_out's {name}", d, value.shape, value.dtype)


def scan_vjp(unroll_fwd, unroll_vjp, params, xs, carry, *, names, d_out, lengths, reverse):
  """The rule of a layer on sequences (..., T, D), from its two passes with time first.

  Args:
    unroll_fwd: `(params, xs, carry, valid, reverse=) -> ((last, ys), saved)`.
    unroll_vjp: `(saved, (d_last, d_ys), reverse=) -> (d_params, d_xs, d_carry)`.
    params, xs, carry, d_out, lengths, reverse: as for the layer's `scan_vjp`.
    names: of the leaves of d_out, for messages.
  """
  valid = valid_steps(lengths, xs.shape[-2])
  # Zeroed, so that no gradient depends on the padding, even if it is nan.
  x = zero_padding(valid, jnp.moveaxis(xs, -2, 0))
  (last, ys), saved = unroll_fwd(params, x, carry, valid, reverse=reverse)
  expect_cotangents(names, d_out, (last, jnp.moveaxis(ys, 0, -2)))
  d_last, d_ys = d_out
  d_y = zero_padding(valid, jnp.moveaxis(d_ys, -2, 0))
  d_params, d_x, d_carry = unroll_vjp(saved, (d_last, d_y), reverse=reverse)
  return d_params, jnp.moveaxis(d_x, 0, -2), d_carry
