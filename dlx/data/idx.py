"""MNIST's file format: IDX, gzipped or not."""

import gzip
import math
import pathlib
import zlib

import numpy as np

from dlx.errors import UserError

# The magic number: two zero bytes, 8 for unsigned bytes, and the number of dimensions.
_IMAGES, _LABELS = 0x803, 0x801
_PREFIXES = {"train": "train", "test": "t10k"}
_SUFFIXES = {"images": "idx3-ubyte", "labels": "idx1-ubyte"}


def is_folder(folder: str | pathlib.Path) -> bool:
  """Whether a folder has at least one of MNIST's four files."""
  return any(_find(folder, *name) for name in _names())


def read_folder(folder: str | pathlib.Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
  """The images and labels of a folder with MNIST's four files.

  They are train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and
  t10k-labels-idx1-ubyte, each with or without .gz. A dot may replace the dash before idx.

  Returns:
    {"train": (images, labels), "test": (images, labels)}: uint8 (N, H, W) and (N,).

  Raises:
    UserError: a file is missing or corrupted, or images and labels do not match.
  """
  files = {name: _find(folder, *name) for name in _names()}
  missing = ["-".join((_PREFIXES[s], k, _SUFFIXES[k])) for (s, k), f in files.items() if not f]
  if missing:
    raise UserError(
        f"{folder} is incomplete: {', '.join(missing)} is missing (each may be gzipped, .gz)"
    )
  splits = {}
  for split in _PREFIXES:
    images, labels = (read(files[split, kind]) for kind in _SUFFIXES)
    if len(images) != len(labels):
      raise UserError(
          f"{folder}: expected as many {split} labels as images, "
          f"got {len(labels)} labels and {len(images)} images"
      )
    if not len(images):
      raise UserError(f"{folder} has no {split} images")
    splits[split] = images, labels
  shapes = [images.shape[1:] for images, _ in splits.values()]
  if shapes[0] != shapes[1]:
    raise UserError(
        f"{folder}: expected images of one size, got {shapes[0]} for train and {shapes[1]} for test"
    )
  return splits


def read(path: str | pathlib.Path) -> np.ndarray:
  """One IDX file of unsigned bytes: images (N, H, W) or labels (N,), by its name.

  Layout: the magic number, then the size of each dimension (all big-endian int32), then
  the values in row-major order.

  Args:
    path: a name that contains idx3 (images) or idx1 (labels); .gz is decompressed.

  Raises:
    UserError: the file cannot be read or decompressed, has another magic number, or has
      more or fewer values than its header says.

  Source: LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (1998).
  """
  path = pathlib.Path(path)
  content = _read_bytes(path)
  expected, kind = (_IMAGES, "images") if "idx3" in path.name else (_LABELS, "labels")
  header = 4 + 4 * (expected & 0xFF)
  if len(content) < header:
    raise UserError(
        f"{path} is truncated: expected a header of {header} bytes, got {len(content)} bytes"
    )
  magic, *shape = (int(n) for n in np.frombuffer(content, ">u4", header // 4))
  if magic != expected:
    raise UserError(f"{path}: expected magic number {expected} (IDX {kind}), got {magic}")
  size, values = math.prod(shape), len(content) - header
  if values != size:
    problem = "is truncated" if values < size else "is too long"
    raise UserError(
        f"{path} {problem}: expected {size} values for shape {tuple(shape)}, got {values}"
    )
  return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


def _names():
  return [(split, kind) for split in _PREFIXES for kind in _SUFFIXES]


def _find(folder, split, kind) -> pathlib.Path | None:
  for dash in "-.":
    for gz in ("", ".gz"):
      path = pathlib.Path(folder, f"{_PREFIXES[split]}-{kind}{dash}{_SUFFIXES[kind]}{gz}")
      if path.is_file():
        return path
  return None


def _read_bytes(path: pathlib.Path) -> bytes:
  try:
    content = path.read_bytes()
  except OSError as e:
    raise UserError(f"{path} cannot be read: {e.strerror}") from None
  if path.suffix != ".gz":
    return content
  try:
    return gzip.decompress(content)
  except (OSError, EOFError, zlib.error) as e:
    raise UserError(f"{path} is not a valid gzip file: {e}; download it again") from None
