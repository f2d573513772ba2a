"""Unrolling over time, shared by rnn, gru and lstm.

The input products of a recurrent layer do not depend on its state, so they are hoisted out
of the loop into one large matrix product. Sequences are (..., T, D) in the layers' public
functions, and (T, ..., D) here, because `lax.scan` loops over the first axis.
"""

from collections.abc import Callable
import functools
from types import ModuleType

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.gradients import bptt, varying
from dlx.layers import shapes


def time_first(xs: Float[Array, "... T D"] | Int[Array, "... T"]) -> Array:
  """Moves the time axis of (..., T, D), or of integer ids (..., T), to the front.

  Raises:
    ValueError: xs has too few dimensions, or is bool.
  """
  if xs.dtype == bool:
    raise ValueError("xs: expected numbers or integer ids, got bool")
  if is_ids(xs):
    shapes.expect_rank("xs", xs, 1, "(..., T) of ids")
    return jnp.moveaxis(xs, -1, 0)
  shapes.expect_rank("xs", xs, 2, "(..., T, D)")
  return jnp.moveaxis(xs, -2, 0)


def is_ids(xs: Array) -> bool:
  """Whether xs are integer ids, which represent one-hot vectors."""
  return jnp.issubdtype(xs.dtype, jnp.integer)


def batch_shape(xs: Array) -> tuple[int, ...]:
  """The batch dimensions of xs with time first: (T, ..., D) or ids (T, ...)."""
  return xs.shape[1:] if is_ids(xs) else xs.shape[1:-1]


def time_last(ys: Float[Array, "T ... D"]) -> Float[Array, "... T D"]:
  """Undoes `time_first`."""
  return jnp.moveaxis(ys, 0, -2)


def sequences(
    params: dict[str, Array],
    xs: Float[Array, "... T D"] | Int[Array, "... T"],
    lengths: Int[Array, "..."] | None,
) -> tuple[Array, Bool[Array, "T ... 1"] | None]:
  """(xs, valid) for the loops: time first, zeros in the padding.

  Raises:
    ValueError: the shape of xs or of lengths does not fit.
  """
  shapes.expect_params(params, ("input", "hidden", "bias"))
  first = time_first(xs)
  expect_inputs(params, xs)
  valid = valid_steps(lengths, first)
  return zero_padding(valid, first), valid


def dtype(params: dict[str, Array], xs: Array) -> jnp.dtype:
  """The dtype of the input product; ids have the kernel's."""
  return jnp.result_type(params["input"], *([] if is_ids(xs) else [xs]))


def gate_inputs(
    params: dict[str, Array], xs: Float[Array, "... D"] | Int[Array, "..."], gates: int
) -> tuple[Float[Array, "... H"], ...]:
  """The input product x W of all steps, one array per gate; see `bptt.gate_inputs`.

  The product of a one-hot x is a row of W, so integer ids are looked up.

  Raises:
    ValueError: the last dimension of xs does not match the kernel.
  """
  expect_inputs(params, xs)
  return bptt.gate_inputs(params["input"], xs, gates)


def expect_inputs(params: dict[str, Array], xs: Float[Array, "... D"] | Int[Array, "..."]) -> None:
  """Raises ValueError unless xs are ids or their last dimension matches the kernel."""
  if not is_ids(xs):
    shapes.expect_last("xs", xs, params["input"].shape[0])


def valid_steps(
    lengths: Int[Array, "..."] | None, xs: Array
) -> Bool[Array, "T ... 1"] | None:
  """True where step t < length; None (no mask) if lengths is None.

  Args:
    lengths: `(...)`.
    xs: with time first.

  Raises:
    ValueError: lengths are no integers, or do not have the batch shape of xs.
  """
  if lengths is None:
    return None
  lengths = jnp.asarray(lengths)
  if not jnp.issubdtype(lengths.dtype, jnp.integer):
    raise ValueError(f"lengths: expected integers, got {lengths.dtype}")
  shapes.expect_shape("lengths", lengths, batch_shape(xs))
  return bptt.valid_steps(lengths, xs.shape[0])


def zero_padding(valid: Bool[Array, "T ... 1"] | None, xs: Array) -> Array:
  """Zeroes the padding of inputs (also ids) or of outputs.

  Inputs are zeroed so that no gradient depends on their padding, even if it is nan.
  """
  if valid is not None and is_ids(xs):
    valid = valid[..., 0]
  return bptt.zero_padding(valid, xs)


def as_carry(carry) -> Array:
  """One array, which may be given as nested lists.

  Raises:
    ValueError: it is something else, such as a pair of arrays of two shapes.
  """
  try:
    return jnp.asarray(carry)
  except (TypeError, ValueError):
    raise ValueError(f"carry: expected an array, got {type(carry).__name__}") from None


def alike(
    params: dict[str, Array], xs: Array, carry, valid: Array | None
) -> tuple[dict[str, Array], Array, object, Array | None]:
  """The arguments of a loop over time, whose carry keeps its type from step to step.

  The carry gets the dtype that params, xs and carry promote to, and all arrays vary over the same
  mesh axes (dlx.gradients.varying).
  """
  dtype = jnp.result_type(
      *params.values(), *([] if is_ids(xs) else [xs]), *jax.tree.leaves(carry)
  )
  carry = jax.tree.map(lambda c: c.astype(dtype), carry)
  return varying.alike(params, xs, carry, valid)


def scan(
    step: Callable, inputs: tuple[Array, ...], carry, *, valid: Array | None, reverse: bool
) -> tuple:
  """Runs `step(carry, inputs[t]) -> (carry, y)` for all t by lax.scan.

  An invalid step does not change the carry. With `reverse` the loop runs from the last step
  to the first, so effectively from the last valid step, and ys stay in place.

  Returns:
    (carry, ys), with ys zero at invalid steps.
  """
  carry, (_, ys) = bptt.forward(step, inputs, carry, valid=valid, reverse=reverse)
  return carry, zero_padding(valid, ys)


def with_custom_vjp(gradients: ModuleType, **options) -> Callable:
  """Makes `unroll(reverse, params, xs, carry, valid) -> (last carry, ys)`.

  Args:
    gradients: the layer's module of dlx.gradients; its `unroll_fwd` is the function and its
      `unroll_vjp` the gradient.
    **options: passed to both.
  """
  forward = functools.partial(gradients.unroll_fwd, **options)
  backward = functools.partial(gradients.unroll_vjp, **options)

  @functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
  def unroll(reverse, *args):
    return forward(*args, reverse=reverse)[0]

  unroll.defvjp(
      lambda reverse, *args: forward(*args, reverse=reverse),
      lambda reverse, *args: (*backward(*args, reverse=reverse), None),
  )
  return unroll
