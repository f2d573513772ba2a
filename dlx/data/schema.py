"""The vectors of dlx.data.vectors in words: names, units, classes; and vectors of input lines."""

from collections.abc import Mapping, Sequence
import json
from typing import Any, NamedTuple

import numpy as np

from dlx.data import expect, image_files, tables
from dlx.errors import UserError


class Schema(NamedTuple):
  """The assets of dlx.data.vectors, checked.

  Attributes:
    features: the names of D entries; None for images.
    shape: of images, [height, width, channels]; None for others.
    mean, scale: (D,); an entry is (value - mean) / scale.
    classes: the names of K classes; None for regression.
    target_mean, target_scale: the same of the number to predict.
  """

  features: list[str] | None
  shape: list[int] | None
  mean: np.ndarray
  scale: np.ndarray
  classes: list[str] | None
  target_mean: float = 0.0
  target_scale: float = 1.0

  @property
  def size(self) -> int:
    """D."""
    return len(self.mean)

  def images(self, inputs: np.ndarray) -> np.ndarray:
    """The pixels of vectors, uint8 (N, H, W, C)."""
    pixels = np.rint(255 * (inputs * self.scale + self.mean))
    return np.clip(pixels, 0, 255).astype(np.uint8).reshape(-1, *self.shape)

  def values(self, inputs: np.ndarray) -> np.ndarray:
    """Vectors in the units of the data."""
    return np.asarray(inputs, np.float64) * self.scale + self.mean

  def vectors(self, values: np.ndarray) -> dict[str, np.ndarray]:
    """{"inputs" (N, D)} of values in the units of the data; pixels are divided by 255."""
    return {"inputs": np.float32((values - self.mean) / self.scale)}

  def numbers(self, targets: np.ndarray) -> np.ndarray:
    """Numbers to predict, in the units of the data."""
    return np.asarray(targets, np.float64) * self.target_scale + self.target_mean

  def read(self, lines: Sequence[str]) -> dict[str, np.ndarray]:
    """{"inputs" (N, D)} of lines: names of image files, or rows such as "width=2.5,height=1".

    A row may also be a JSON object, or the numbers alone, in the order of the features.

    Raises:
      UserError: an image cannot be read; a row lacks a feature, has another one, or a value is
        not a number.
    """
    if self.shape:
      size, _, channels = self.shape
      pixels = [image_files.read(line, size, channels=channels) for line in lines]
      found = np.stack(pixels).reshape(len(lines), -1) / 255
    else:
      found = np.array([self._row(line) for line in lines])
    return self.vectors(found)

  def _row(self, line: str) -> list[float]:
    values = _object(line) if line.lstrip().startswith("{") else self._assignments(line)
    example = ",".join(f"{name}=1.5" for name in self.features)
    for name in values:
      if name not in self.features:
        raise UserError(f"{line!r} has {name!r}, which is no feature; expected {example}")
    hint = f"expected {example}"
    return [tables.number(values.get(name), f"{line!r}", name, hint) for name in self.features]

  def _assignments(self, line: str) -> dict[str, str]:
    parts = line.split(",")
    if not any("=" in part for part in parts):
      if len(parts) != self.size:
        names = ",".join(self.features)
        raise UserError(f"{line!r}: expected {self.size} numbers between commas, {names}")
      return dict(zip(self.features, parts))
    pairs = [part.rpartition("=") for part in parts]
    return {name.strip(): value for name, _, value in pairs}


def _object(line: str) -> dict[str, str | None]:
  try:
    values = json.loads(line)
  except (ValueError, RecursionError):
    raise UserError(f"{line!r} is not valid JSON") from None
  return {name: None if value is None else str(value) for name, value in values.items()}


def of(assets: Mapping[str, Any]) -> Schema:
  """The schema of a run's assets.

  Raises:
    ValueError: an asset is not what it should be; see dlx.data.expect.
  """
  shape = expect.image_shape("shape", assets["shape"]) if "shape" in assets else None
  features = None if shape else expect.names("features", assets["features"])
  size = (int(np.prod(shape)) if shape else len(features),)
  mean, scale = (expect.array(name, assets[name], size) for name in ("mean", "scale"))
  if "classes" in assets:
    return Schema(features, shape, mean, scale, expect.names("classes", assets["classes"]))
  numbers = (expect.number(name, assets[name]) for name in ("target_mean", "target_scale"))
  return Schema(features, shape, mean, scale, None, *numbers)
