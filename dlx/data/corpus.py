"""Corpora of text, each split into train, validation and test."""

import dataclasses
import hashlib
import os
import pathlib
import sysconfig

from dlx.data import text as text_files
from dlx.data import tfds
from dlx.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A named text in three parts."""

  name: str
  train: str
  validation: str
  test: str

  @property
  def characters(self) -> set[str]:
    """Every character of all parts."""
    return set(self.train) | set(self.validation) | set(self.test)

  def split(self, name: str) -> str:
    """One part, or several joined, in TFDS's notation: "validation+test".

    Raises:
      UserError: no such part.
    """
    parts = name.split("+")
    for part in parts:
      if part not in SPLITS:
        raise UserError(f"split {part!r} is not one of {', '.join(SPLITS)} (or a sum, a+b)")
    return "".join(getattr(self, part) for part in parts)

  @property
  def fingerprint(self) -> str:
    """A digest of all three parts: it tells whether a run resumes on the same text."""
    digest = hashlib.sha256()
    for part in SPLITS:
      digest.update(self.split(part).encode() + b"\0")
    return digest.hexdigest()[:16]


def from_text(name: str, text: str) -> Corpus:
  """The first 90 % of a text to train on, the next 5 % to validate, the last 5 % to test."""
  first, second = int(0.9 * len(text)), int(0.95 * len(text))
  return Corpus(name, text[:first], text[first:second], text[second:])


def from_file(path: str | pathlib.Path) -> Corpus:
  """A text file, cut as in `from_text`.

  Raises:
    UserError: the file cannot be used; the message says why.
  """
  text = text_files.read(path)
  if len(set(text)) < 2:
    raise UserError(f"{path} has only one distinct character; there is nothing to learn")
  return from_text(str(path), text)


def tiny_shakespeare() -> Corpus:
  """TFDS tiny_shakespeare, 1,115,394 characters in 90, 5 and 5 %.

  Raises:
    UserError: it is not prepared on this machine.

  Source: Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015).
  """
  try:
    parts = {split: tfds.load("tiny_shakespeare", split)[0]["text"].decode() for split in SPLITS}
  except UserError as e:
    raise UserError(f"{e}; or train on a file with --config.data.text=PATH") from None
  return Corpus("tiny_shakespeare", **parts)


def python_source(max_characters: int) -> Corpus:
  """The source of the running Python's standard library: needs no download.

  Files are taken in sorted order, without site-packages, tests and what is not UTF-8.
  Of every twenty the last but one goes to validation and the last to test, so no file
  is in two parts; a part that has its share of the size (90, 5, 5 %) takes no more.

  Args:
    max_characters: the size of all parts together, at most.

  Raises:
    UserError: max_characters is below 1.
  """
  if max_characters < 1:
    raise UserError(f"config.data.max_characters is {max_characters}; it must be at least 1")
  root = pathlib.Path(sysconfig.get_paths()["stdlib"])
  left = {split: int(share * max_characters) for split, share in zip(SPLITS, (0.9, 0.05, 0.05))}
  parts = {split: [] for split in SPLITS}
  for i, path in enumerate(_source_files(root)):
    split = {18: "validation", 19: "test"}.get(i % 20, "train")
    if not left[split]:
      continue
    try:
      content = path.read_text(encoding="utf-8")[: left[split]]
    except (UnicodeDecodeError, OSError):
      continue
    parts[split].append(content)
    left[split] -= len(content)
    if not any(left.values()):
      break
  return Corpus("python_source", **{split: "".join(files) for split, files in parts.items()})


def _source_files(root: pathlib.Path) -> list[pathlib.Path]:
  skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
  found = []
  for folder, folders, files in os.walk(root):
    folders[:] = [name for name in folders if name not in skipped]
    found += [pathlib.Path(folder, name) for name in files if name.endswith(".py")]
  return sorted(found)
