"""The assets of a run: what its model needs besides its variables."""

from collections.abc import Mapping
import pathlib
from typing import Any

import numpy as np
import safetensors.numpy

from dlx.errors import UserError
from dlx.runs import files, record

ASSETS, ARRAYS = "assets.json", "assets.safetensors"


def save(workdir: pathlib.Path, assets: Mapping[str, Any]) -> None:
  """Writes JSON values and numpy arrays, each to the file of its kind."""
  arrays = {k: np.ascontiguousarray(v) for k, v in assets.items() if isinstance(v, np.ndarray)}
  if arrays:
    record.write(workdir, ARRAYS, safetensors.numpy.save(arrays))
  values = {k: v for k, v in assets.items() if k not in arrays}
  record.write(workdir, ASSETS, files.to_json(values))


def load(workdir: pathlib.Path) -> dict[str, Any]:
  """Reads the files that `save` wrote.

  Raises:
    UserError: one is missing or corrupted.
  """
  assets = files.parse_json(workdir / ASSETS, record.read(workdir, ASSETS), dict)
  if record.has(workdir, ARRAYS) or (workdir / ARRAYS).exists():
    assets |= load_arrays(workdir, ARRAYS)
  return assets


def load_arrays(workdir: pathlib.Path, name: str) -> dict[str, np.ndarray]:
  """The arrays of a safetensors file.

  Raises:
    UserError: it is missing or corrupted.
  """
  content = record.read(workdir, name)
  try:
    return safetensors.numpy.load(content)
  except Exception as e:  # safetensors has its own kinds of errors.
    raise UserError(f"{workdir / name} is corrupted: {e}") from None
