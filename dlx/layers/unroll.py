"""Steps through time: what rnn, gru and lstm share.

A recurrent layer computes one thing per step from the input alone (its input
product, which is hoisted out of the loop into one large matrix product) and the
rest from the state. Inside, time is the first axis, because `lax.scan` walks the
first axis; outside, sequences are (..., T, D).
"""

from collections.abc import Callable
import functools
from types import ModuleType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.gradients import bptt
from dlx.layers import shapes


def time_first(xs: Float[Array, "... T D"] | Int[Array, "... T"]) -> Array:
  """Moves the time axis of (..., T, D), or of integer ids (..., T), to the front.

  Raises:
    ValueError: xs has too few dimensions.
  """
  if is_ids(xs):
    shapes.expect_rank("xs", xs, 1, "(..., T) of ids")
    return jnp.moveaxis(xs, -1, 0)
  shapes.expect_rank("xs", xs, 2, "(..., T, D)")
  return jnp.moveaxis(xs, -2, 0)


def is_ids(xs: Array) -> bool:
  """Whether xs are integers, which stand for one-hot vectors."""
  return jnp.issubdtype(xs.dtype, jnp.integer)


def batch_shape(xs: Array) -> tuple[int, ...]:
  """The leading dimensions of what `time_first` gave: (T, ..., D) or ids (T, ...)."""
  return xs.shape[1:] if is_ids(xs) else xs.shape[1:-1]


def time_last(ys: Float[Array, "T ... D"]) -> Float[Array, "... T D"]:
  """Undoes `time_first`."""
  return jnp.moveaxis(ys, 0, -2)


def sequences(
    params: dict[str, Array],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    lengths: Int[Array, "..."] | None,
) -> tuple[Array, Bool[Array, "T ... 1"] | None]:
  """(xs, valid) as the loops take them: time first, zeros beyond the lengths.

  Raises:
    ValueError: the shape of xs or of lengths does not fit.
  """
  first = time_first(xs)
  expect_inputs(params, xs)
  valid = valid_steps(lengths, first)
  return zero_padding(valid, first), valid


def dtype(params: dict[str, Array], xs: Array) -> jnp.dtype:
  """The dtype of the product of xs, or of one-hot vectors for ids, and the kernel."""
  return jnp.result_type(params["input"], *([] if is_ids(xs) else [xs]))


def gate_inputs(
    params: dict[str, Array], xs: Float[Array, "... D"] | Int[Array, "..."], gates: int
) -> tuple[Float[Array, "... H"], ...]:
  """The input product x W of all steps, one array per gate, by `bptt`.

  The product of a one-hot x is a row of W, so integer xs are looked up.

  Raises:
    ValueError: the last dimension of xs is not that of the kernel.
  """
  expect_inputs(params, xs)
  return bptt.gate_inputs(params["input"], xs, gates)


def expect_inputs(params: dict[str, Array], xs: Float[Array, "... D"] | Int[Array, "..."]) -> None:
  """Raises ValueError unless the last dimension of xs, if no ids, is that of the kernel."""
  if not is_ids(xs):
    shapes.expect_last("xs", xs, params["input"].shape[0])


def valid_steps(
    lengths: Int[Array, "..."] | None, xs: Array
) -> Bool[Array, "T ... 1"] | None:
  """True where step t < length; None (no mask at all) when lengths is None.

  Args:
    lengths: `(...)`.
    xs: what `time_first` gave.

  Raises:
    ValueError: lengths does not have the batch shape of xs.
  """
  if lengths is None:
    return None
  lengths = jnp.asarray(lengths)
  shapes.expect_shape("lengths", lengths, batch_shape(xs))
  return bptt.valid_steps(lengths, xs.shape[0])


def zero_padding(valid: Bool[Array, "T ... 1"] | None, xs: Array) -> Array:
  """Zeroes inputs (ids, too) or outputs beyond each sequence's length.

  Inputs as well, so that not even a nan in the padding reaches a gradient.
  """
  if valid is not None and is_ids(xs):
    valid = valid[..., 0]
  return bptt.zero_padding(valid, xs)


def scan(
    step: Callable, inputs: tuple[Array, ...], carry, *, valid: Array | None, reverse: bool
) -> tuple:
  """Runs `step(carry, inputs[t]) -> (carry, y)` for all t by lax.scan.

  A step that is not valid leaves the carry as it was. With `reverse` it runs from
  the last step to the first and keeps ys in place; because padding leaves the carry
  alone, that is from the last valid step to the first.

  Returns:
    (carry, ys), ys with zeros where a step is not valid.
  """
  carry, (_, ys) = bptt.forward(step, inputs, carry, valid=valid, reverse=reverse)
  return carry, zero_padding(valid, ys)


def with_custom_vjp(gradients: ModuleType) -> Callable:
  """`(reverse, params, xs, carry, valid) -> (last carry, ys)` with a hand-derived gradient.

  Args:
    gradients: the layer's module of dlx.gradients, with `unroll_fwd` and `unroll_vjp`.
  """

  @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
  def unroll(reverse, *args):
    return gradients.unroll_fwd(*args, reverse=reverse)[0]

  unroll.defvjp(
      lambda reverse, *args: gradients.unroll_fwd(*args, reverse=reverse),
      lambda reverse, *args: (*gradients.unroll_vjp(*args, reverse=reverse), None),
  )
  return unroll
