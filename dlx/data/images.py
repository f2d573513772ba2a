"""Labelled images as arrays: CIFAR-10 from TFDS, or a folder of one's own."""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import zipfile

import numpy as np
from PIL import Image, UnidentifiedImageError

from dlx import cache
from dlx.data import tfds
from dlx.errors import UserError

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of one size with their labels.

  Attributes:
    images: uint8 (N, H, W, 3).
    labels: int32 (N,), places in `classes`.
    classes: their names.
  """

  images: np.ndarray
  labels: np.ndarray
  classes: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, places) -> "Images":
    """Those at the given places (a slice, or an array of ints)."""
    return dataclasses.replace(self, images=self.images[places], labels=self.labels[places])

  @property
  def fingerprint(self) -> str:
    """A digest of pixels, labels and names: whether a run resumes on the same images."""
    digest = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
    digest.update(np.ascontiguousarray(self.images))
    digest.update(np.ascontiguousarray(self.labels))
    return digest.hexdigest()[:16]


def cifar10(split: str) -> Images:
  """CIFAR-10's "train" (50,000) or "test" (10,000) images, 32 x 32.

  Decoded once, and read after that from `dlx.cache.folder()`.

  Raises:
    UserError: it is not prepared on this machine, or its files are damaged.

  Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009).
  """
  try:
    source = tfds.load("cifar10", split)
  except UserError as e:
    raise UserError(
        f"{e}; or train on a folder of images with --config.data.images=DIR"
    ) from None
  path = cache.folder() / f"cifar10-{split}-{len(source)}.npz"
  cached = _read_cache(path)
  if cached is None:
    try:
      examples = [source[i] for i in range(len(source))]
    except Exception as e:
      raise UserError(
          f"the files of the TFDS data set cifar10 ({split}) are damaged ({type(e).__name__}); "
          f"delete its folder and prepare it again"
      ) from None
    cached = {
        "images": np.stack([example["image"] for example in examples]),
        "labels": np.array([example["label"] for example in examples], np.int32),
    }
    _write_cache(path, cached)
  return Images(**cached, classes=CIFAR10_CLASSES)


def _read_cache(path):
  try:
    with np.load(path) as file:
      return {"images": file["images"], "labels": file["labels"]}
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None  # Not there, or damaged: it is made again.


def _write_cache(path, arrays):
  """Whole or not at all: two runs may start at once, and a disk may be full or read-only."""
  part = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb") as file:
      np.savez(file, **arrays)
    part.replace(path)
  except OSError:
    with contextlib.suppress(OSError):
      part.unlink()


def read(path: str | pathlib.Path, size: int) -> np.ndarray:
  """An image file as uint8 (size, size, 3): scaled to cover the square, its middle cut out.

  Raises:
    UserError: the file is missing, cut off, or no image.
  """
  try:
    with Image.open(path) as image:
      image = image.convert("RGB")
      scale = size / min(image.size)
      width, height = (max(size, round(scale * n)) for n in image.size)
      if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
      left, top = (width - size) // 2, (height - size) // 2
      return np.asarray(image.crop((left, top, left + size, top + size)))
  except FileNotFoundError:
    raise UserError(f"{path} does not exist; name an image file") from None
  except (UnidentifiedImageError, IsADirectoryError):
    raise UserError(f"{path} is not an image ({', '.join(SUFFIXES)})") from None
  except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as e:
    raise UserError(f"{path} cannot be read as an image: {e}") from None


def from_folder(folder: str | pathlib.Path, size: int) -> Images:
  """The images below a folder: one subfolder a class, its name the class's.

  Args:
    folder: its subfolders are taken in sorted order, hidden ones left out; files in them
      with one of SUFFIXES are the images, at any depth.
    size: H = W; see `read`.

  Raises:
    UserError: there are fewer than two subfolders, one has no image, or a file cannot be
      read.
  """
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise UserError(f"config.data.images: {folder} is not a folder; give one subfolder a class")
  classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
  if len(classes) < 2:
    raise UserError(
        f"config.data.images: {folder} has {len(classes)} subfolder(s); at least two classes are "
        f"needed, one subfolder each"
    )
  images, labels = [], []
  for label, of_class in enumerate(classes):
    files = sorted(p for p in of_class.rglob("*") if p.suffix.lower() in SUFFIXES)
    if not files:
      raise UserError(f"config.data.images: {of_class} has no image ({', '.join(SUFFIXES)})")
    images += [read(path, size) for path in files]
    labels += [label] * len(files)
  names = tuple(p.name for p in classes)
  return Images(np.stack(images), np.array(labels, np.int32), names)


def shapes(count: int, size: int = 32, seed: int = 0) -> Images:
  """Images made on the spot, for tests and demonstrations: discs, squares and crosses.

  Each is of a random colour, place and size before a noisy background of another colour.
  """
  rng = np.random.default_rng(seed)
  labels = np.arange(count, dtype=np.int32) % 3
  centre = rng.uniform(0.35, 0.65, (2, count, 1, 1)) * size
  radius = rng.uniform(0.15, 0.3, (count, 1, 1)) * size
  rows, columns = np.ogrid[:size, :size]
  dy, dx = np.abs(rows - centre[0]), np.abs(columns - centre[1])
  forms = [
      dy**2 + dx**2 < radius**2,
      np.maximum(dy, dx) < 0.9 * radius,
      (np.minimum(dy, dx) < 0.3 * radius) & (np.maximum(dy, dx) < radius),
  ]
  inside = np.choose(labels[:, None, None], forms)[..., None]
  colours = rng.integers(0, 256, (2, count, 1, 1, 3))
  colours[1] = (colours[0] + rng.integers(80, 176, colours[0].shape)) % 256
  noise = rng.normal(0, 12, (count, size, size, 3))
  pixels = np.where(inside, colours[0], colours[1]) + noise
  return Images(np.clip(pixels, 0, 255).astype(np.uint8), labels, ("disc", "square", "cross"))
