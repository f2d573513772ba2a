"""Checks of the arguments of attention; messages name the argument."""

import math
import numbers
import operator

import jax.numpy as jnp

from dlx.layers import shapes


def expect_fitting(query, key, value=None, mask=None, bias=None):
  """Raises ValueError unless all shapes and dtypes fit."""
  form = "(..., N, T, D)"
  shapes.expect_rank("query", query, 2, form)
  shapes.expect_rank("key", key, 2, form)
  *leading, num_queries, d = query.shape
  num_keys, shared = key.shape[-2], list(leading)
  if not d:
    raise ValueError(f"query: expected at least one feature, got shape {query.shape}")
  if leading and key.ndim == query.ndim and key.shape[-3] and not leading[-1] % key.shape[-3]:
    shared[-1] = key.shape[-3]  # Grouped queries.
  shapes.expect_shape("key", key, (*shared, num_keys, d))
  if value is not None:
    shapes.expect_rank("value", value, 2, form)
    shapes.expect_shape("value", value, (*shared, num_keys, value.shape[-1]))
  if mask is not None:
    if mask.dtype != bool:
      raise ValueError(f"mask: expected dtype bool, got {mask.dtype}")
    shapes.expect_broadcast("mask", mask, (*leading, num_queries, num_keys))
  if bias is not None:
    if not jnp.issubdtype(bias.dtype, jnp.floating):
      raise ValueError(f"bias: expected a floating-point dtype, got {bias.dtype}")
    shapes.expect_broadcast("bias", bias, (*leading, num_queries, num_keys))


def window(local_window_size, num_queries, num_keys):
  """(left, right), no larger than the sequences; None without a window."""
  if local_window_size is None:
    return None
  sides = local_window_size
  try:
    sides = (sides, sides) if isinstance(sides, numbers.Integral) else sides
    left, right = map(operator.index, sides)
  except (TypeError, ValueError):
    left = right = -1
  if left < 0 or right < 0 or isinstance(local_window_size, bool):
    raise ValueError(
        "local_window_size: expected an int or a pair (left, right), not negative, "
        f"got {local_window_size!r}"
    )
  return min(left, num_queries), min(right, num_keys)


def expect_softcap(softcap):
  """Raises ValueError unless it is None or a positive number."""
  if softcap is None:
    return
  if not isinstance(softcap, numbers.Real) or not 0 < softcap < math.inf:
    raise ValueError(f"softcap: expected a positive number, got {softcap!r}")


def key_heads(params, num_heads):
  """K, the heads of keys and of values of `multi_head`."""
  columns = params["query"]["kernel"].shape[1]
  d = columns // num_heads
  for name in ("key", "value"):
    found = params[name]["kernel"].shape[1]
    if not found or found % d or num_heads % (found // d):
      raise ValueError(
          f"params: expected {name} to project to {columns} features, or to {d} times a divisor "
          f"of num_heads={num_heads} (grouped queries), got {found}"
      )
  return found // d
