"""The gradient of dropout, derived by hand."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from dlx.gradients import checks


def draw_mask(
    rng: jax.Array, shape: tuple[int, ...], rate: float, broadcast_dims: tuple[int, ...] = ()
) -> Bool[Array, "..."]:
  """m ~ Bernoulli(1 - rate), True at the units that are kept; of size 1 along broadcast_dims.

  A unit costs 16 random bits, so that its probability is a multiple of 2^-16: random bits are most
  of dropout's time on a CPU. Rates near 0 and 1 have 32.
  """
  shared = {d % len(shape) for d in broadcast_dims}
  shape = tuple(1 if i in shared else n for i, n in enumerate(shape))
  if not shape or not 0.001 <= rate <= 0.999:
    return jax.random.bernoulli(rng, 1 - rate, shape)
  # Both halves of an integer, for two parts of the last dimension: devices that share a batch
  # exchange nothing.
  bits = jax.random.bits(rng, (*shape[:-1], (shape[-1] + 1) // 2), jnp.uint32)
  halves = jnp.concatenate([bits & 0xFFFF, bits >> 16], -1)[..., : shape[-1]]
  return halves < round((1 - rate) * 2**16)


def dropout_vjp(x, *, rng, d_out, rate, broadcast_dims=()):
  """The vector-Jacobian product of `dlx.layers.dropout.dropout`, y = m x / (1 - rate).

  The mask m is drawn from rng and does not depend on x, so for a given key y is linear in x
  with the diagonal Jacobian m / (1 - rate), and

    d_x = m d_y / (1 - rate)

  with the same m, which is drawn again from the same rng instead of being saved. The
  cotangent of a dropped unit is exactly 0. Only the shape and dtype of x are used.

  Args:
    x: any shape.
    rng: the key of the forward pass.
    d_out: d_y, in the shape and dtype of x.
    rate, broadcast_dims: as in the layer.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of x.

  Source: Srivastava et al., "Dropout" (2014), section 5.1.
  """
  checks.expect_like("d_out", d_out, jnp.shape(x), jnp.result_type(x))
  if rate == 0:
    return d_out
  keep = draw_mask(rng, d_out.shape, rate, broadcast_dims)
  return jnp.where(keep, d_out / (1 - rate), jnp.zeros((), d_out.dtype))
