"""Positions: sinusoids that are added, rotations of queries and keys.

Both turn a position p into D/2 angles p * base^(-2i/D): the first turns by a radian per
position, the last by little more than a radian in `base` positions. Learned positions
are an embedding of the position.

Angles are computed in at least float32; at positions near 10^5 they are right to 0.01.
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
  """0, 1, ... along the sequence axis of x, or what was given, in the precision of x."""
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
  """sin and cos side by side, pair by pair: (..., D/2) -> (..., D)."""
  pairs = jnp.stack([jnp.sin(angles), jnp.cos(angles)], axis=-1)
  return pairs.reshape(*angles.shape[:-1], 2 * angles.shape[-1])


def sinusoidal(t: int, d: int, *, base: float = 10_000.0) -> Float[Array, "T D"]:
  """The table of sinusoidal positions 0 .. t - 1.

  PE[p, 2i] = sin(p / base^(2i/d)),  PE[p, 2i + 1] = cos(p / base^(2i/d))

  A pair at p + k is the pair at p turned by an angle that depends on k alone, so a
  linear map of a position gives its neighbours.

  Args:
    t: T, the number of positions.
    d: D, the size of a position's vector.
    base: the wavelengths go from 2 pi towards base * 2 pi.

  Returns:
    `(T, D)`, in jax's default precision.

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
  """Adds each position's sinusoids to its vector: y_p = scale * x_p + PE[p].

  Args:
    x: `(..., T, D)`.
    positions: `(..., T)` or what broadcasts to it; 0 .. T - 1 when None.
    scale: a factor for x; sqrt(D) with the embeddings of Vaswani et al.
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
  """Turns pairs of entries of each query or key by angles that grow with its position.

  With x1 and x2 the first and the second half of a vector at position p, and the angles
  a_i = p / base^(2i/D), i < D/2,

  y1 = x1 cos(a) - x2 sin(a)
  y2 = x2 cos(a) + x1 sin(a)

  A rotation keeps lengths, and the product of a query turned for p with a key turned
  for q depends on q - p alone: attention sees distances.

  The pairs are (x_i, x_{i + D/2}), halves side by side, as in GPT-NeoX and Llama
  checkpoints. Su et al. pair neighbours, (x_2i, x_{2i+1}), which is the same for
  another order of the columns of the query and key kernels.

  Args:
    x: queries or keys, `(..., T, D)`, after their projection.
    positions: `(..., T)` or what broadcasts to it, so `(B, 1, T)` beside heads
      `(B, N, T, D)`; 0 .. T - 1 when None.
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
  x1, x2 = jnp.split(x, 2, axis=-1)
  return jnp.concatenate([x1 * cos - x2 * sin, x2 * cos + x1 * sin], axis=-1).astype(x.dtype)
