"""Checks of the arguments of rules; messages name the argument."""

import jax
import jax.numpy as jnp


def expect_like(name: str, x: jax.Array, shape: tuple[int, ...], dtype=None) -> None:
  """Raises ValueError unless `x` has this shape and, if given, this dtype."""
  if tuple(jnp.shape(x)) != tuple(shape):
    raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(jnp.shape(x))}")
  if dtype is not None and jnp.result_type(x) != jnp.dtype(dtype):
    raise ValueError(f"{name}: expected dtype {jnp.dtype(dtype)}, got {jnp.result_type(x)}")


def expect_broadcast(name: str, x: jax.Array, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless `x` broadcasts to `shape`."""
  try:
    fits = jnp.broadcast_shapes(jnp.shape(x), shape) == tuple(shape)
  except ValueError:
    fits = False
  if not fits:
    raise ValueError(
        f"{name}: expected a shape that broadcasts to {tuple(shape)}, got {jnp.shape(x)}"
    )
