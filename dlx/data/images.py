"""Labelled images as arrays: TFDS data sets, folders of images, and generated shapes."""

import contextlib
import dataclasses
import os
import pathlib
import zipfile

import numpy as np

from dlx import cache, paths
from dlx.data import idx, image_files, image_folders, tfds
from dlx.data.image_files import read
from dlx.data.split import Splits, train_validation_split
from dlx.distributed import processes
from dlx.errors import UserError

CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
FASHION_MNIST_CLASSES = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag",
    "Ankle boot",
)  # fmt: skip
# TFDS name: height and width, classes.
TFDS_SETS = {
    "cifar10": (32, CIFAR10_CLASSES),
    "fashion_mnist": (28, FASHION_MNIST_CLASSES),
    "mnist": (28, tuple("0123456789")),
}
# Generated set: default size, channels.
SHAPE_SETS = {"shapes": (32, 3), "gray_shapes": (28, 1)}
SOURCES = (*TFDS_SETS, *SHAPE_SETS)


@dataclasses.dataclass(frozen=True)
class Images:
  """Images of one size with their labels.

  Attributes:
    images: uint8 (N, H, W, C), with C = 3 or, for gray images, 1.
    labels: int32 (N,), indices into `classes`.
    classes: the class names.
  """

  images: np.ndarray
  labels: np.ndarray
  classes: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.labels)

  def take(self, indices) -> "Images":
    """The examples at `indices` (a slice, or an array of ints)."""
    return dataclasses.replace(self, images=self.images[indices], labels=self.labels[indices])

  @property
  def arrays(self) -> dict[str, np.ndarray]:
    """{"images": ..., "labels": ...}."""
    return {"images": self.images, "labels": self.labels}


def load(
    source: str,
    *,
    folder: str | pathlib.Path | None = None,
    size: int | None = None,
    num_validation: int,
) -> Splits[Images]:
  """A data set in three splits; the validation split is drawn from the training images.

  Args:
    source: a name in SOURCES. "shapes" and "gray_shapes" are generated: 480 images for
      training and validation, 96 for testing.
    folder: replaces `source`: MNIST's four IDX files (see `dlx.data.idx`), or one subfolder
      per class (see `from_folder`), of which a tenth, drawn with seed 1, is the test split. If
      these are below train/, val/ and test/ (see `image_folders.splits`), they are the splits.
    size: H = W; None stands for the data set's own size (32 for a folder of classes).
    num_validation: the number of validation images.

  Raises:
    UserError: the source is unknown, it cannot be read, or `size` or `num_validation` does
      not fit it.
  """
  if folder:
    folder = paths.expand(folder)
    if not idx.is_folder(folder):
      return _splits_of_folder(folder, 32 if size is None else size, num_validation)
    train, test = _from_idx(folder, size)
  elif source in SHAPE_SETS:
    default, channels = SHAPE_SETS[source]
    size = default if size is None else size
    train, test = (shapes(n, size, seed=n, channels=channels) for n in (480, 96))
  elif source in TFDS_SETS:
    _check_size(size, TFDS_SETS[source][0], source)
    train, test = (from_tfds(source, split) for split in ("train", "test"))
  else:
    raise UserError(
        f"source: expected one of {', '.join(SOURCES)}, got {source!r}; or use a folder of images"
    )
  return Splits(*train_validation_split(train, num_validation), test)


def from_options(options) -> Splits[Images]:
  """`load` with the values of dlx.settings.image_data: dataset, images, size, num_validation."""
  return load(
      options.dataset, folder=options.images, size=options.size,
      num_validation=options.num_validation,
  )  # fmt: skip


def _check_size(size: int | None, expected: int, name) -> None:
  if size not in (None, expected):
    raise UserError(f"size: expected {expected} or None for {name}, got {size}")


def from_tfds(name: str, split: str) -> Images:
  """The "train" or "test" images of a data set in TFDS_SETS.

  Decoded once, and then read from `dlx.cache.folder()`.

  Raises:
    UserError: the data set is not prepared on this machine, or its files are corrupted.

  Source: Krizhevsky, "Learning multiple layers of features from tiny images" (2009), for
    CIFAR-10; Xiao, Rasul, Vollgraf, "Fashion-MNIST" (2017); LeCun, Cortes, Burges, "The MNIST
    database of handwritten digits" (1998).
  """
  try:
    source = tfds.load(name, split)
  except UserError as e:
    raise UserError(f"{e}; or use a folder of images") from None
  path = cache.folder() / f"{name}-{split}-{len(source)}.npz"
  cached = _read_cache(path)
  if cached is None:
    try:
      examples = [source[i] for i in range(len(source))]
    except Exception as e:
      raise UserError(
          f"the files of the TFDS data set {name} ({split}) are corrupted ({type(e).__name__}); "
          f"delete its folder and prepare it again"
      ) from None
    cached = {
        "images": np.stack([example["image"] for example in examples]),
        "labels": np.array([example["label"] for example in examples], np.int32),
    }
    _write_cache(path, cached)
  return Images(**cached, classes=TFDS_SETS[name][1])


def _read_cache(path):
  try:
    with np.load(path) as file:
      return {"images": file["images"], "labels": file["labels"]}
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return None  # Missing or corrupted: it is written again.


def _write_cache(path, arrays):
  """Atomic, since two runs may start together; a full or read-only disk is ignored."""
  part = path.with_name(f".{path.name}.{os.getpid()}")
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(part, "wb") as file:
      np.savez(file, **arrays)
    part.replace(path)
  except OSError:
    with contextlib.suppress(OSError):
      part.unlink()


def _from_idx(folder: str | pathlib.Path, size: int | None) -> tuple[Images, Images]:
  splits = idx.read_folder(folder)
  _check_size(size, splits["train"][0].shape[1], folder)
  # Its file names are MNIST's, and so only the folder's name tells Fashion-MNIST apart.
  if "fashion" in pathlib.Path(folder).absolute().name.lower():
    classes = FASHION_MNIST_CLASSES
  else:
    classes = tuple(str(i) for i in range(int(splits["train"][1].max()) + 1))
  for split, (_, labels) in splits.items():
    if labels.max() >= len(classes):
      raise UserError(
          f"{folder}: expected {split} labels below {len(classes)}, the number of classes, "
          f"got {labels.max()}"
      )
  return tuple(
      Images(images[..., None], labels.astype(np.int32), classes)
      for images, labels in splits.values()
  )


def from_folder(folder: str | pathlib.Path, size: int = 32) -> Images:
  """The images below a folder with one subfolder per class, named after it.

  Args:
    folder: its subfolders are the classes, in sorted order and without hidden ones; the
      images are the files in them with one of image_files.SUFFIXES, at any depth.
    size: H = W; see `image_files.read`.

  Returns:
    Images with one channel if all files are gray, else with three.

  Raises:
    UserError: there are fewer than two subfolders, one has no image, a file cannot be read, or
      the subfolders are splits, which only `load` reads.
  """
  if parts := image_folders.splits(_existing(folder)):
    raise UserError(
        f"folder: the subfolders {', '.join(p.name for p in parts.values())} of {folder} are "
        f"splits; expected one per class, as in {parts['train']}"
    )
  return _from_folders({"train": pathlib.Path(folder)}, size)["train"]


def _existing(folder: str | pathlib.Path) -> pathlib.Path:
  folder = pathlib.Path(folder)
  if not folder.is_dir():
    raise UserError(f"folder: {folder} is not a folder; expected one with a subfolder per class")
  return folder


def _splits_of_folder(folder: str | pathlib.Path, size: int, num_validation: int) -> Splits[Images]:
  """The splits that the folder has; the others are drawn from its training images."""
  parts = image_folders.splits(_existing(folder))
  data = _from_folders(parts, size) if parts else {"train": from_folder(folder, size)}
  train, validation, test = data["train"], data.get("validation"), data.get("test")
  if test is None:
    train, test = train_validation_split(train, len(train) // 10, seed=1)
  if validation is None:
    train, validation = train_validation_split(train, num_validation)
  if parts:
    names = ", ".join(path.name for path in parts.values())
    ignored = "; num_validation is not used" if "validation" in parts else ""
    processes.notice(f"{folder}: the subfolders {names} are read as splits{ignored}")
  return Splits(train, validation, test)


def _from_folders(parts: dict[str, pathlib.Path], size: int) -> dict[str, Images]:
  """The images of splits, of one set of classes and one number of channels."""
  listings = {s: image_folders.classes(f, 2 if s == "train" else 1) for s, f in parts.items()}
  classes = tuple(sorted(listings["train"].files))
  examples = {}
  for split, listing in listings.items():
    if unknown := sorted(listing.files.keys() - set(classes)):
      raise UserError(
          f"folder: {parts[split]} has the class {unknown[0]}, but {parts['train']} does not"
      )
    examples[split] = [
        (path, k) for k, name in enumerate(classes) for path in listing.files.get(name, ())
    ]
  gray = all(image_files.is_gray(path) for some in examples.values() for path, _ in some)
  found = {}
  for split, some in examples.items():
    pixels = np.stack([read(path, size, channels=1 if gray else 3) for path, _ in some])
    found[split] = Images(pixels, np.array([k for _, k in some], np.int32), classes)
  for listing in listings.values():
    if listing.notice:
      processes.notice(listing.notice)
  return found


def shapes(count: int, size: int = 32, seed: int = 0, channels: int = 3) -> Images:
  """Generated images for tests and demonstrations: discs, squares and crosses.

  Each has a random colour, position and size, on a noisy background of another colour.
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
  colours = rng.integers(0, 256, (2, count, 1, 1, channels))
  colours[1] = (colours[0] + rng.integers(80, 176, colours[0].shape)) % 256
  noise = rng.normal(0, 12, (count, size, size, channels))
  pixels = np.where(inside, colours[0], colours[1]) + noise
  return Images(np.clip(pixels, 0, 255).astype(np.uint8), labels, ("disc", "square", "cross"))
