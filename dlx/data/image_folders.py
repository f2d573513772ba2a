"""Folders of images: which files belong to which class and split."""

from collections import Counter
import os
import pathlib
from typing import NamedTuple
import unicodedata

from dlx.data.image_files import SUFFIXES
from dlx.errors import UserError

SPLITS = {
    "train": "train", "training": "train",
    "validation": "validation", "valid": "validation", "val": "validation", "dev": "validation",
    "test": "test", "testing": "test",
}  # fmt: skip
# Beside names that begin with a dot (.ipynb_checkpoints, macOS's ._x.jpg): what archives, NAS and
# Windows add.
_SYSTEM = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "Thumbs.db", "desktop.ini")


class Listing(NamedTuple):
  """The images of a folder with one subfolder per class.

  Attributes:
    files: the images of each class, in sorted order.
    notice: a line about what is not read; None if that is nothing.
  """

  files: dict[str, list[pathlib.Path]]
  notice: str | None


def classes(folder: pathlib.Path, at_least: int = 2) -> Listing:
  """The images below each subfolder, at any depth, without hidden files and folders.

  The name of a class is that of its subfolder, in Unicode's composed form (NFC): macOS and
  Linux write the same letters differently.

  Raises:
    UserError: there are fewer than `at_least` subfolders, one has no image, or its name is not
      UTF-8 or that of another one.
  """
  subfolders = _subfolders(folder)
  if len(subfolders) < at_least:
    raise UserError(
        f"folder: expected at least two subfolders of {folder}, one per class (or MNIST's four "
        f"IDX files), got {len(subfolders)}"
    )
  found, skipped = {}, Counter()
  for path in folder.iterdir():
    if _is_image(path) and not _is_hidden(path.name) and not path.is_dir():
      skipped["image files outside the subfolders"] += 1
  for subfolder in subfolders:
    name = _class_name(subfolder)
    if name in found:
      raise UserError(f"folder: {folder} has two subfolders named {name}; rename one")
    found[name], others = _images(subfolder)
    skipped += others
    if not found[name]:
      raise UserError(
          f"folder: {subfolder} has no images ({', '.join(SUFFIXES)}); "
          f"it has {_listed(others) or 'no files'}"
      )
  return Listing(found, f"{folder}: not read: {_listed(skipped)}" if skipped else None)


def splits(folder: pathlib.Path) -> dict[str, pathlib.Path]:
  """The subfolders for training, validation and testing that have a subfolder per class.

  They are named after one of SPLITS, in capitals or not.

  Returns:
    {"train": ..., "validation": ..., "test": ...}, of which the last two may be missing; {} if
    the subfolders are classes.

  Raises:
    UserError: only some of the subfolders are splits, or one has no subfolders.
  """
  subfolders = _subfolders(folder)
  named = [path for path in subfolders if path.name.lower() in SPLITS]
  others = [path.name for path in subfolders if path not in named]
  has_train = any(SPLITS[p.name.lower()] == "train" and _subfolders(p) for p in named)
  if not has_train and (others or len(named) < 2):
    return {}
  if others and len(named) < 2:  # A class may have the name train, as in CIFAR-100.
    return {}
  where = f"folder: {folder} has the splits {', '.join(path.name for path in named)}"
  if others:
    raise UserError(f"{where}, but also {others[0]}; move it elsewhere")
  found = {SPLITS[path.name.lower()]: path for path in named}
  if len(found) < len(named) or "train" not in found:
    raise UserError(f"{where}; expected train, and at most one each for validation and test")
  for path in named:
    if not _subfolders(path):
      raise UserError(
          f"{where}, but {path.name} has no subfolder per class; give it some, or move it elsewhere"
      )
  return found


def _subfolders(folder: pathlib.Path) -> list[pathlib.Path]:
  try:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not _is_hidden(p.name))
  except OSError as e:
    raise UserError(f"folder: {folder} cannot be read: {e.strerror}") from None


def _is_hidden(name: str) -> bool:
  return name.startswith(".") or name in _SYSTEM


def _is_image(path: pathlib.Path) -> bool:
  return path.suffix.lower() in SUFFIXES


def _class_name(folder: pathlib.Path) -> str:
  try:
    os.fsencode(folder.name).decode()
  except UnicodeDecodeError:
    raise UserError(f"folder: the name of {ascii(str(folder))} is not UTF-8; rename it") from None
  return unicodedata.normalize("NFC", folder.name)


def _images(folder: pathlib.Path) -> tuple[list[pathlib.Path], Counter]:
  """The images below a folder, and the counts of other files."""
  found, others = [], Counter()
  for path in sorted(p for p in folder.rglob("*") if not p.is_dir()):
    hidden = any(map(_is_hidden, path.relative_to(folder).parts))
    if hidden and _is_image(path):
      others["hidden image files"] += 1
    elif _is_image(path):
      found.append(path)
    elif not hidden:
      others[f"{path.suffix.lower()} files" if path.suffix else "files without a suffix"] += 1
  return found, others


def _listed(counts: Counter) -> str:
  return ", ".join(f"{what} ({count})" for what, count in sorted(counts.items()))
