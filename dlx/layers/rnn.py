"""The simple (Elman) recurrent layer, h_t = f(x_t W + h_{t-1} U + b); f is tanh by default."""

from collections.abc import Callable
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


def _step(activation, params, h, gates):
  h = gradients.step(params, h, gates, activation)
  return h, h


_RULES = {f: unroll.with_custom_vjp(gradients, activation=f) for f in gradients.ACTIVATIONS}


def _expect_elementwise(activation):
  """Raises ValueError unless activation is a function that keeps shape and dtype."""
  if activation in gradients.ACTIVATIONS:
    return
  if not callable(activation):
    raise ValueError(f"activation: expected a function such as jax.nn.relu, got {activation!r}")
  shape, dtype = (2, 3), jnp.dtype(jnp.float32)
  out = jax.eval_shape(activation, jax.ShapeDtypeStruct(shape, dtype))
  if (getattr(out, "shape", None), getattr(out, "dtype", None)) != (shape, dtype):
    raise ValueError(f"activation: expected an elementwise function, got {activation!r}")


def cell(
    params: dict[str, Array],
    carry: Float[Array, "... H"],
    x: Float[Array, "... D"],
    *,
    activation: Callable[[Array], Array] = jnp.tanh,
) -> tuple[Float[Array, "... H"], Float[Array, "... H"]]:
  """One step: h' = f(x W + h U + b), f the activation; returns (h', h').

  Args:
    params: `input (D, H)`, `hidden (H, H)`, `bias (H,)`.
    carry: h, `(..., H)`.
    x: `(..., D)`.
    activation: f, elementwise: jnp.tanh, jax.nn.relu or another function of an array.

  Raises:
    ValueError: the last dimension of x or of carry does not fit the kernels, or activation
      is not an elementwise function.

  Source: Elman, "Finding structure in time" (1990); Le, Jaitly, Hinton, "A simple way to
    initialize recurrent networks of rectified linear units" (2015), for relu.
  """
  _expect_elementwise(activation)
  shapes.expect_last("carry", carry, params["hidden"].shape[0])
  return _step(activation, params, carry, unroll.gate_inputs(params, x, 1))


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
    activation: Callable[[Array], Array] = jnp.tanh,
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
    activation: as for `cell`.
    implementation: "auto" uses the gradient of dlx/gradients/rnn.py, which is faster but
      has no forward mode, for jnp.tanh and jax.nn.relu; "autodiff", and "auto" for any other
      activation, use jax's.

  Returns:
    (carry, ys): the final state `(..., H)` and all states `(..., T, H)`.

  Raises:
    ValueError: a shape does not fit, activation is not an elementwise function, or
      implementation is unknown; the message names the argument.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  _expect_elementwise(activation)
  (xs,) = shapes.as_arrays(xs)
  xs, valid = unroll.sequences(params, xs, lengths)
  batch = unroll.batch_shape(xs)
  if carry is None:
    carry = initial_carry(params, batch, unroll.dtype(params, xs))
  carry = unroll.as_carry(carry)
  shapes.expect_shape("carry", carry, (*batch, params["hidden"].shape[0]))
  params, xs, carry, valid = unroll.alike(params, xs, carry, valid)
  if implementation == "auto" and activation in gradients.ACTIVATIONS:
    carry, ys = varying.call(_RULES[activation], params, xs, carry, valid, static=(reverse,))
    return carry, unroll.time_last(unroll.zero_padding(valid, ys))
  carry, ys = unroll.scan(
      functools.partial(_step, activation, params),
      unroll.gate_inputs(params, xs, 1),
      carry,
      valid=valid,
      reverse=reverse,
  )
  return carry, unroll.time_last(ys)
