"""The simple (Elman) recurrent layer, h_t = tanh(x_t W + h_{t-1} U + b)."""

import functools

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.gradients import rnn as gradients
from dlx.gradients import varying
from dlx.layers import shapes, unroll


def init(rng: jax.Array, d_in: int, d_hidden: int) -> dict[str, Array]:
  """Draws `input (D, H)` (LeCun), an orthogonal `hidden (H, H)` and a zero `bias (H,)`.

  An orthogonal U preserves the norm of the state, and of its gradient, where tanh is
  approximately linear.

  Source: Saxe, McClelland, Ganguli, "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks" (2014).
  """
  input_rng, hidden_rng = jax.random.split(rng)
  return {
      "input": initializers.lecun_normal()(input_rng, (d_in, d_hidden)),
      "hidden": initializers.orthogonal()(hidden_rng, (d_hidden, d_hidden)),
      "bias": jnp.zeros((d_hidden,)),
  }


def _step(params, h, gates):
  h = gradients.step(params, h, gates)
  return h, h


_unroll = unroll.with_custom_vjp(gradients)


def cell(
    params: dict[str, Array], carry: Float[Array, "... H"], x: Float[Array, "... D"]
) -> tuple[Float[Array, "... H"], Float[Array, "... H"]]:
  """One step: h' = tanh(x W + h U + b); returns (h', h').

  Args:
    params: `input (D, H)`, `hidden (H, H)`, `bias (H,)`.
    carry: h, `(..., H)`.
    x: `(..., D)`.

  Raises:
    ValueError: the last dimension of x or of carry does not fit the kernels.

  Source: Elman, "Finding structure in time" (1990).
  """
  shapes.expect_last("carry", carry, params["hidden"].shape[0])
  return _step(params, carry, unroll.gate_inputs(params, x, 1))


def initial_carry(params: dict[str, Array], batch_shape: tuple[int, ...], dtype=None) -> Array:
  """Zeros, `(*batch_shape, H)`."""
  hidden = params["hidden"]
  return jnp.zeros((*batch_shape, hidden.shape[0]), dtype or hidden.dtype)


def scan(
    params: dict[str, Array],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    carry: Float[Array, "... H"] | None = None,
    *,
    lengths: Int[Array, "..."] | None = None,
    reverse: bool = False,
    implementation: str = "auto",
) -> tuple[Float[Array, "... H"], Float[Array, "... T H"]]:
  """Runs `cell` over the time axis of (..., T, D).

  Args:
    params: as for `cell`.
    xs: `(..., T, D)`, or integer ids `(..., T)` in place of one-hot vectors.
    carry: the initial state `(..., H)`; zeros if None.
    lengths: the number of valid steps of each sequence, `(...)`. Beyond them ys are zero and
      the carry is that of the last valid step.
    reverse: run from the last valid step to the first; ys stay in place.
    implementation: "auto" uses the gradient of dlx/gradients/rnn.py, which is faster but
      has no forward mode; "autodiff" uses jax's.

  Returns:
    (carry, ys): the final state `(..., H)` and all states `(..., T, H)`.

  Raises:
    ValueError: a shape does not fit, or implementation is unknown; the message names
      the argument.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  (xs,) = shapes.as_arrays(xs)
  xs, valid = unroll.sequences(params, xs, lengths)
  batch = unroll.batch_shape(xs)
  if carry is None:
    carry = initial_carry(params, batch, unroll.dtype(params, xs))
  carry = unroll.as_carry(carry)
  shapes.expect_shape("carry", carry, (*batch, params["hidden"].shape[0]))
  params, xs, carry, valid = unroll.alike(params, xs, carry, valid)
  if implementation == "auto":
    carry, ys = varying.call(_unroll, params, xs, carry, valid, static=(reverse,))
    return carry, unroll.time_last(unroll.zero_padding(valid, ys))
  carry, ys = unroll.scan(
      functools.partial(_step, params),
      unroll.gate_inputs(params, xs, 1),
      carry,
      valid=valid,
      reverse=reverse,
  )
  return carry, unroll.time_last(ys)
