"""Steps through time: what rnn, gru and lstm share.

A recurrent layer computes one thing per step from the input alone (its input
product, which is hoisted out of the loop into one large matrix product) and the
rest from the state. Inside, time is the first axis, because `lax.scan` walks the
first axis; outside, sequences are (..., T, D).
"""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.layers import embedding, shapes


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


def gate_inputs(
    params: dict[str, Array], xs: Float[Array, "... D"] | Int[Array, "..."], gates: int
) -> tuple[Float[Array, "... H"], ...]:
  """The hoisted input product x W of all steps, one array per gate.

  The product of a one-hot x is a row of W, so integer xs are looked up.

  One array per gate, not one wide array that is sliced in the loop: the pointwise
  part of a step then reads contiguous memory, which makes the forward loop of a GRU
  a quarter faster on CPU. The bias is left to the step.

  Raises:
    ValueError: the last dimension of xs is not that of the kernel.
  """
  kernel = params["input"]
  if is_ids(xs):
    product, rows = lambda w: embedding.lookup({"embedding": w}, xs), xs.size
  else:
    shapes.expect_last("xs", xs, kernel.shape[0])
    product, rows = lambda w: xs @ w, xs.size // xs.shape[-1]
  if rows < kernel.shape[0]:  # A few rows: splitting the result copies less than the kernel.
    return tuple(jnp.split(product(kernel), gates, axis=-1))
  return tuple(product(w) for w in jnp.split(kernel, gates, axis=-1))


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
  steps = jnp.arange(xs.shape[0]).reshape((-1,) + (1,) * lengths.ndim)
  return (steps < lengths)[..., None]


def zero_padding(valid: Bool[Array, "T ... 1"] | None, xs: Array) -> Array:
  """Zeroes inputs (ids, too) or outputs beyond each sequence's length.

  Inputs as well, so that not even a nan in the padding reaches a gradient.
  """
  if valid is None:
    return xs
  return jnp.where(valid[..., 0] if is_ids(xs) else valid, xs, jnp.zeros((), xs.dtype))


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

  def masked_step(carry, x):
    x, keep = x
    new_carry, y = step(carry, x)
    if keep is not None:
      new_carry = jax.tree.map(lambda new, old: jnp.where(keep, new, old), new_carry, carry)
    return new_carry, y

  carry, ys = lax.scan(masked_step, carry, (inputs, valid), reverse=reverse)
  return carry, zero_padding(valid, ys)
