"""Long short-term memory (LSTM)."""

import functools

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.gradients import lstm as gradients
from dlx.gradients import varying
from dlx.layers import shapes, unroll

Carry = tuple[Float[Array, "... H"], Float[Array, "... H"]]


def init(rng: jax.Array, d_in: int, d_hidden: int) -> dict[str, Array]:
  """Draws `input (D, 4H)` (LeCun), `hidden (H, 4H)` and `bias (4H,)`, gates i, f, g, o.

  The hidden kernel of each gate is orthogonal. The bias is 1 for the forget gate, so that
  the cell initially remembers, and 0 for the others.

  Source: Jozefowicz, Zaremba, Sutskever, "An empirical exploration of recurrent
    network architectures" (2015), for the bias.
  """
  input_rng, *gate_rngs = jax.random.split(rng, 5)
  orthogonal = initializers.orthogonal()
  return {
      "input": initializers.lecun_normal()(input_rng, (d_in, 4 * d_hidden)),
      "hidden": jnp.concatenate(
          [orthogonal(gate_rng, (d_hidden, d_hidden)) for gate_rng in gate_rngs], axis=-1
      ),
      "bias": jnp.zeros((4 * d_hidden,)).at[d_hidden : 2 * d_hidden].set(1.0),
  }


def _step(params, carry, gates):
  (c, h), _ = gradients.step(params, carry, gates)
  return (c, h), h


_unroll = unroll.with_custom_vjp(gradients)


def cell(
    params: dict[str, Array], carry: Carry, x: Float[Array, "... D"]
) -> tuple[Carry, Float[Array, "... H"]]:
  """One step of an LSTM; returns ((c', h'), h').

  i = s(x W_i + h U_i + b_i)      input gate, s the sigmoid
  f = s(x W_f + h U_f + b_f)      forget gate
  g = tanh(x W_g + h U_g + b_g)   candidate
  o = s(x W_o + h U_o + b_o)      output gate
  c' = f * c + i * g,  h' = o * tanh(c')

  Args:
    params: `input (D, 4H)`, `hidden (H, 4H)`, `bias (4H,)`, gates in the order i, f, g, o.
    carry: (c, h), each `(..., H)`.
    x: `(..., D)`.

  Raises:
    ValueError: a last dimension does not fit the kernels.

  Source: Hochreiter and Schmidhuber (1997); the forget gate from Gers, Schmidhuber,
    Cummins, "Learning to forget" (2000).
  """
  if not isinstance(carry, (tuple, list)) or len(carry) != 2:
    raise ValueError(f"carry: expected a pair (c, h), got {type(carry).__name__}")
  carry = tuple(map(unroll.as_carry, carry))
  for name, state in zip(("carry's c", "carry's h"), carry):
    shapes.expect_last(name, state, params["hidden"].shape[0])
  return _step(params, carry, unroll.gate_inputs(params, x, 4))


def initial_carry(params: dict[str, Array], batch_shape: tuple[int, ...], dtype=None) -> Carry:
  """Zeros (c, h), each `(*batch_shape, H)`."""
  hidden = params["hidden"]
  zeros = jnp.zeros((*batch_shape, hidden.shape[0]), dtype or hidden.dtype)
  return zeros, zeros


def scan(
    params: dict[str, Array],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    carry: Carry | None = None,
    *,
    lengths: Int[Array, "..."] | None = None,
    reverse: bool = False,
    implementation: str = "auto",
) -> tuple[Carry, Float[Array, "... T H"]]:
  """Runs `cell` over the time axis of (..., T, D).

  Args:
    params: as for `cell`.
    xs: `(..., T, D)`, or integer ids `(..., T)` in place of one-hot vectors.
    carry: the initial (c, h), each `(..., H)`; zeros if None.
    lengths: the number of valid steps of each sequence, `(...)`. Beyond them ys are zero and
      the carry is that of the last valid step.
    reverse: run from the last valid step to the first; ys stay in place.
    implementation: "auto" uses the gradient of dlx/gradients/lstm.py, which is faster but
      has no forward mode; "autodiff" uses jax's.

  Returns:
    (carry, ys): the final (c, h) and all h, `(..., T, H)`.

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
  if not isinstance(carry, (tuple, list)) or len(carry) != 2:
    raise ValueError(f"carry: expected a pair (c, h), got {type(carry).__name__}")
  carry = tuple(map(unroll.as_carry, carry))
  for name, state in zip(("carry's c", "carry's h"), carry):
    shapes.expect_shape(name, state, (*batch, params["hidden"].shape[0]))
  params, xs, carry, valid = unroll.alike(params, xs, carry, valid)
  if implementation == "auto":
    carry, ys = varying.call(_unroll, params, xs, carry, valid, static=(reverse,))
    return carry, unroll.time_last(unroll.zero_padding(valid, ys))
  carry, ys = unroll.scan(
      functools.partial(_step, params),
      unroll.gate_inputs(params, xs, 4),
      carry,
      valid=valid,
      reverse=reverse,
  )
  return carry, unroll.time_last(ys)
