"""The gradients of sinusoidal and rotary positional encodings, derived by hand.

d_v is the cotangent of v, the derivative of the loss with respect to v. Positions and the
table are constants and have no cotangent.
"""

import jax.numpy as jnp
import numpy as np

from dlx.gradients import checks


def add_sinusoidal_vjp(x, *, d_out, positions=None, scale=1.0, base=10_000.0):
  """The vector-Jacobian product of `dlx.layers.positional.add_sinusoidal`.

  y = scale * x + PE is affine in x, with dy_i/dx_j = scale for i = j and 0 otherwise:

    d_x = scale * d_y

  The positions and sinusoids do not matter.

  Args:
    x: `(..., T, D)`; its values are not used.
    d_out: d_y, in the shape and dtype of x.
    positions, scale, base: as in the layer.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of x.

  Source: Vaswani et al., "Attention is all you need" (2017), sections 3.4 and 3.5.
  """
  del positions, base
  checks.expect_like("d_out", d_out, x.shape, x.dtype)
  return scale * d_out


def rotary_vjp(x, *, d_out, positions=None, base=10_000.0):
  """The vector-Jacobian product of `dlx.layers.positional.rotary`.

  A pair (x1, x2) at position p is rotated by the angle a = p / base^(2i/D):

    y1 = x1 cos(a) - x2 sin(a)         dy1/dx1 = cos(a)    dy1/dx2 = -sin(a)
    y2 = x2 cos(a) + x1 sin(a)         dy2/dx1 = sin(a)    dy2/dx2 =  cos(a)

  and d_x1 = d_y1 dy1/dx1 + d_y2 dy2/dx1, d_x2 likewise, so

    d_x1 = d_y1 cos(a) + d_y2 sin(a)
    d_x2 = d_y2 cos(a) - d_y1 sin(a)

  which rotates d_y by -a: the transpose of a rotation is its inverse, and the norm of a
  cotangent is preserved.

  Args:
    x: `(..., T, D)`, D even; its values are not used.
    d_out: d_y, in the shape and dtype of x.
    positions: `(..., T)`; 0 .. T - 1 if None.
    base: as in the layer.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of x.

  Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding"
    (2021), equation 34.
  """
  checks.expect_like("d_out", d_out, x.shape, x.dtype)
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  t, d = x.shape[-2:]
  p = jnp.arange(t) if positions is None else jnp.asarray(positions)
  a = p[..., None].astype(dtype) * jnp.asarray(base ** (-np.arange(0, d, 2) / d), dtype)
  cos, sin = jnp.cos(a), jnp.sin(a)
  d_y1, d_y2 = jnp.split(d_out, 2, axis=-1)
  d_x = jnp.concatenate([d_y1 * cos + d_y2 * sin, d_y2 * cos - d_y1 * sin], axis=-1)
  return d_x.astype(x.dtype)
