"""The gated recurrent unit (GRU) in both common forms."""

import functools

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.gradients import gru as gradients
from dlx.gradients import varying
from dlx.layers import shapes, unroll


def init(
    rng: jax.Array, d_in: int, d_hidden: int, *, reset_after: bool = False
) -> dict[str, Array]:
  """Draws `input (D, 3H)` (LeCun), `hidden (H, 3H)` and a zero `bias (3H,)`, gates r, z, n.

  The hidden kernel of each gate is orthogonal. With `reset_after` there is also a zero
  `hidden_bias (3H,)`.
  """
  input_rng, *gate_rngs = jax.random.split(rng, 4)
  orthogonal = initializers.orthogonal()
  params = {
      "input": initializers.lecun_normal()(input_rng, (d_in, 3 * d_hidden)),
      "hidden": jnp.concatenate(
          [orthogonal(gate_rng, (d_hidden, d_hidden)) for gate_rng in gate_rngs], axis=-1
      ),
      "bias": jnp.zeros((3 * d_hidden,)),
  }
  if reset_after:
    params["hidden_bias"] = jnp.zeros((3 * d_hidden,))
  return params


def _step(params, h, gates):
  h, _ = gradients.step(params, h, gates)
  return h, h


_unroll = unroll.with_custom_vjp(gradients)


def cell(
    params: dict[str, Array],
    carry: Float[Array, "... H"],
    x: Float[Array, "... D"],
    *,
    reset_after: bool = False,
) -> tuple[Float[Array, "... H"], Float[Array, "... H"]]:
  """One step of a GRU; returns (h', h').

  With s the sigmoid, * elementwise and h the carry:

  r = s(x W_r + h U_r + b_r)               reset gate
  z = s(x W_z + h U_z + b_z)               update gate
  n = tanh(x W_n + (r * h) U_n + b_n)      candidate
  h' = (1 - z) * h + z * n

  and with `reset_after` (the form of PyTorch and cuDNN; c is hidden_bias, and z weighs the
  old state instead of the candidate):

  r = s(x W_r + b_r + h U_r + c_r)
  z = s(x W_z + b_z + h U_z + c_z)
  n = tanh(x W_n + b_n + r * (h U_n + c_n))
  h' = (1 - z) * n + z * h

  Args:
    params: `input (D, 3H)`, `hidden (H, 3H)`, `bias (3H,)`, gates in the order r, z, n;
      with reset_after also `hidden_bias (3H,)`.
    carry: h, `(..., H)`.
    x: `(..., D)`.
    reset_after: apply the reset gate after the hidden product.

  Raises:
    ValueError: a last dimension does not fit the kernels, or reset_after and the
      presence of hidden_bias disagree.

  Source: Cho et al., "Learning phrase representations using RNN encoder-decoder"
    (2014); Chung et al. (2014) for the first form's gate convention.
  """
  shapes.expect_last("carry", carry, params["hidden"].shape[0])
  gradients.expect_form(params, reset_after)
  return _step(params, carry, unroll.gate_inputs(params, x, 3))


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
    reset_after: bool = False,
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
    reset_after: the form, as in `cell`.
    implementation: "auto" uses the gradient of dlx/gradients/gru.py, which is faster but
      has no forward mode; "autodiff" uses jax's.

  Returns:
    (carry, ys): the final state `(..., H)` and all states `(..., T, H)`.

  Raises:
    ValueError: a shape does not fit, reset_after and hidden_bias disagree, or
      implementation is unknown; the message names the argument.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  gradients.expect_form(params, reset_after)
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
      unroll.gate_inputs(params, xs, 3),
      carry,
      valid=valid,
      reverse=reverse,
  )
  return carry, unroll.time_last(ys)
