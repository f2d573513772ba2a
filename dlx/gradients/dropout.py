"""The gradient of dropout, derived by hand."""

import jax
import jax.numpy as jnp

from dlx.gradients import checks


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
  shared = {d % d_out.ndim for d in broadcast_dims}
  mask_shape = tuple(1 if i in shared else n for i, n in enumerate(d_out.shape))
  keep = jax.random.bernoulli(rng, 1 - rate, mask_shape)
  return jnp.where(keep, d_out / (1 - rate), jnp.zeros((), d_out.dtype))
