"""Checks of arguments; messages name the argument, its expected and its actual value."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradients.checks import expect_broadcast as expect_broadcast


def as_arrays(*values) -> list[jax.Array | None]:
  """Lists and numbers as arrays; None stays None."""
  return [None if value is None else jnp.asarray(value) for value in values]


def expect_params(params: Mapping, names: Sequence[str]) -> None:
  """Raises ValueError unless params have these names."""
  if missing := [name for name in names if name not in params]:
    raise ValueError(f"params: expected {', '.join(names)}; {', '.join(missing)} is missing")


def expect_last(name: str, x: jax.Array, size: int) -> None:
  """Raises ValueError unless the last dimension of `x` is `size`."""
  if x.ndim == 0 or x.shape[-1] != size:
    raise ValueError(f"{name}: expected a last dimension of {size}, got shape {x.shape}")


def expect_rank(name: str, x: jax.Array, least: int, form: str) -> None:
  """Raises ValueError unless `x` has at least `least` dimensions, as in `form`."""
  if x.ndim < least:
    raise ValueError(f"{name}: expected shape {form}, got {x.shape}")


def expect_shape(name: str, x: jax.Array, shape: tuple[int, ...]) -> None:
  """Raises ValueError unless `x.shape` is `shape`."""
  if tuple(x.shape) != tuple(shape):
    raise ValueError(f"{name}: expected shape {tuple(shape)}, got {tuple(x.shape)}")


def expect_not_negative(name: str, x: jax.Array) -> None:
  """Raises ValueError if a number is negative, where numbers are known: not under jit."""
  if isinstance(x, jax.core.Tracer) or not x.is_fully_addressable:
    return
  values = np.asarray(x)
  if (values < 0).any():
    raise ValueError(f"{name}: expected numbers of at least 0, got {values[values < 0][0]}")


def expect_implementation(implementation: str, choices: tuple[str, ...]) -> None:
  """Raises ValueError unless `implementation` is one of `choices`."""
  if implementation not in choices:
    names = " or ".join(f'"{choice}"' for choice in choices)
    raise ValueError(f"implementation: expected {names}, got {implementation!r}")
