"""Positional encodings: sinusoids added to the input, and rotary embeddings.

Both map a position p to D/2 angles p * base^(-2i/D), i < D/2, with frequencies from 1 to
about 1 / base radians per position. For learned positions use an embedding.

Angles are computed in at least float32; at positions near 10^5 their error is below 0.01.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float, Num
import numpy as np

from dlx.layers import shapes


def _angles(positions, d, base):
  """p * base^(-2i/d) for i < d/2: (...) -> (..., d/2)."""
  dtype = jnp.promote_types(positions.dtype, jnp.float32)
  return positions[..., None].astype(dtype) * jnp.asarray(base ** (-np.arange(0, d, 2) / d), dtype)


def _positions(x, positions):
  """The given positions, or 0, 1, ... along the sequence axis of x, in the precision of x."""
  shapes.expect_rank("x", x, 2, "(..., T, D)")
  if x.shape[-1] % 2:
    raise ValueError(f"x: expected an even last dimension, got shape {x.shape}")
  dtype = jnp.promote_types(x.dtype, jnp.float32)
  if positions is None:
    return jnp.arange(x.shape[-2], dtype=dtype)
  positions = jnp.asarray(positions)
  shapes.expect_broadcast("positions", positions, x.shape[:-1])
  return positions.astype(dtype)


def _waves(angles):
  """Interleaved sin and cos: (..., D/2) -> (..., D)."""
  pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return pairs.reshape(*angles.shape[:-1], 2 * angles.shape[-1])


def sinusoidal(t: int, d: int, *, base: float = 10_000.0) -> Float[Array, "T D"]:
  """The table of sinusoidal encodings of positions 0 .. T - 1.

  PE[p, 2i] = sin(p / base^(2i/d)),  PE[p, 2i + 1] = cos(p / base^(2i/d))

  The pair at p + k is the pair at p rotated by an angle that depends only on k, so
  relative positions are linear maps.

  Args:
    t: T, the number of positions.
    d: D, the number of features.
    base: wavelengths range from 2 pi to almost base * 2 pi.

  Returns:
    `(T, D)`, in jax's default float dtype.

  Raises:
    ValueError: d is odd.

  Source: Vaswani et al., "Attention is all you need" (2017), section 3.5.
  """
  if d % 2:
    raise ValueError(f"d: expected an even number, got {d}")
  return _waves(_angles(jnp.arange(t, dtype=float), d, base))


def add_sinusoidal(
    x: Float[Array, "... T D"],
    positions: Num[Array, "... T"] | None = None,
    *,
    scale: float = 1.0,
    base: float = 10_000.0,
) -> Float[Array, "... T D"]:
  """Adds sinusoidal encodings: y_p = scale * x_p + PE[p].

  Args:
    x: `(..., T, D)`.
    positions: broadcast to `(..., T)`; 0 .. T - 1 if None.
    scale: a factor for x; Vaswani et al. use sqrt(D).
    base: as for `sinusoidal`.

  Returns:
    y, `(..., T, D)`, in the dtype of x.

  Raises:
    ValueError: D is odd, x has one dimension, or positions do not broadcast.

  Source: Vaswani et al. (2017), sections 3.4 and 3.5.
  """
  waves = _waves(_angles(_positions(x, positions), x.shape[-1], base))
  return (scale * x + waves).astype(x.dtype)


def rotary(
    x: Float[Array, "... T D"],
    positions: Num[Array, "... T"] | None = None,
    *,
    base: float = 10_000.0,
) -> Float[Array, "... T D"]:
  """Rotary position embedding: rotates pairs of features by angles proportional to position.

  With x1 and x2 the first and the second half of the vector at position p, and angles
  a_i = p / base^(2i/D), i < D/2,

  y1 = x1 cos(a) - x2 sin(a)
  y2 = x2 cos(a) + x1 sin(a)

  Rotations preserve norms, and the product of a query at p with a key at q depends only
  on q - p: attention depends on relative positions.

  The pairs are (x_i, x_{i + D/2}), as in GPT-NeoX and Llama checkpoints. Su et al. use
  (x_2i, x_{2i+1}), which is equivalent up to a permutation of the columns of the query and
  key kernels.

  Args:
    x: queries or keys, `(..., T, D)`, after their projection.
    positions: broadcast to `(..., T)`, e.g. `(B, 1, T)` for x `(B, N, T, D)`; 0 .. T - 1 if
      None.
    base: as for `sinusoidal`.

  Returns:
    y, `(..., T, D)`, in the dtype of x.

  Raises:
    ValueError: D is odd, x has one dimension, or positions do not broadcast.

  Source: Su et al., "RoFormer: enhanced transformer with rotary position embedding"
    (2021), equations 15 and 34.
  """
  angles = _angles(_positions(x, positions), x.shape[-1], base)
  cos, sin = jnp.cos(angles), jnp.sin(angles)
  cos, sin = jnp.concatenate([cos, cos], -1), jnp.concatenate([-sin, sin], -1)
  # One rotation of the features and two products: XLA makes vector code of these.
  return (x * cos + jnp.roll(x, x.shape[-1] // 2, axis=-1) * sin).astype(x.dtype)
