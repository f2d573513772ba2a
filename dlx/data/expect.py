"""Checks of assets: a run that is opened can bring those of another one, or edited ones."""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np

MAX_SIZE = 10_000  # Of an image, so that a wrong number does not take all memory.


def names(asset: str, value: Any) -> list[str]:
  """The value, if it is a list of different strings, at least one.

  Args:
    asset: its name, for the message.
    value: of the asset.

  Raises:
    ValueError: it is not.
  """
  if (
      not isinstance(value, list)
      or not value
      or not all(isinstance(name, str) for name in value)
      or len(set(value)) < len(value)
  ):
    raise ValueError(f"{asset}: expected a list of different names, got {_shortened(value)}")
  return value


def image_shape(asset: str, value: Any) -> list[int]:
  """The value, if it is [height, width, channels]; arguments and errors as for `names`."""
  if (
      not isinstance(value, list)
      or len(value) != 3
      or not all(type(size) is int and 0 < size <= MAX_SIZE for size in value)
  ):
    raise ValueError(f"{asset}: expected [height, width, channels], got {_shortened(value)}")
  return value


def number(asset: str, value: Any) -> float:
  """The value, if it is a finite number; arguments and errors as for `names`."""
  if type(value) not in (int, float) or not math.isfinite(value):
    raise ValueError(f"{asset}: expected a number, got {_shortened(value)}")
  return value


def array(asset: str, value: Any, shape: Sequence[int]) -> np.ndarray:
  """The value, if it is an array of floats of this shape; errors as for `names`."""
  if not isinstance(value, np.ndarray) or value.dtype.kind != "f" or value.shape != tuple(shape):
    raise ValueError(f"{asset}: expected floats of shape {tuple(shape)}, got {_shortened(value)}")
  return value


def _shortened(value: Any) -> str:
  if isinstance(value, np.ndarray):
    return f"{value.dtype} of shape {value.shape}"
  return f"{value!r:.60}"
