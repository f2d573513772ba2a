"""Text corpora with train, validation and test splits."""

import dataclasses
import os
import pathlib
import re
import sysconfig

from dlx import paths
from dlx.data import text as text_files
from dlx.data import tfds
from dlx.errors import UserError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Corpus:
  """A named text in three splits."""

  name: str
  train: str
  validation: str
  test: str

  @property
  def characters(self) -> set[str]:
    """All characters of the three splits."""
    return set(self.train) | set(self.validation) | set(self.test)

  def split(self, name: str) -> str:
    """One split, or several concatenated, in TFDS's notation: "validation+test".

    Raises:
      UserError: an unknown split.
    """
    splits = name.split("+")
    for split in splits:
      if split not in SPLITS:
        raise UserError(
            f"split: expected one of {', '.join(SPLITS)} (or a sum such as validation+test), "
            f"got {split!r}"
        )
    return "".join(getattr(self, split) for split in splits)


def load(
    source: str, *, path: str | pathlib.Path | None = None, max_characters: int = 4_000_000
) -> Corpus:
  """A corpus by its name, or of a text file.

  Args:
    source: "python_source" or "tiny_shakespeare".
    path: replaces `source`: a text file, divided as in `from_text`.
    max_characters: the maximum size of python_source.

  Raises:
    UserError: the source is unknown, or it cannot be read.
  """
  if path:
    return from_file(paths.expand(path))
  if source == "tiny_shakespeare":
    return tiny_shakespeare()
  if source == "python_source":
    return python_source(max_characters)
  raise UserError(
      f"source: expected tiny_shakespeare or python_source, got {source!r}; or use a text file"
  )


def from_text(name: str, text: str) -> Corpus:
  """The first 90 % of a text for training, the next 5 % for validation, the last 5 % for test."""
  first, second = int(0.9 * len(text)), int(0.95 * len(text))
  return Corpus(name, text[:first], text[first:second], text[second:])


def from_file(
    path: str | pathlib.Path, *, num_words: tuple[int, int] | None = None
) -> Corpus:
  """A text file, divided as in `from_text`.

  Args:
    path: of the file.
    num_words: words (between white space) for training and for validation; the rest is test.

  Raises:
    UserError: the file cannot be read as text, it has one distinct character only, or no more
      words than `num_words`.
  """
  text = text_files.read(path)
  if len(set(text)) < 2:
    raise UserError(f"{path} has only one distinct character; expected at least two")
  if num_words is None:
    return from_text(str(path), text)
  ends = [match.end() for match in re.finditer(r"\S+", text)]
  train, validation = num_words
  if train + validation >= len(ends):
    raise UserError(
        f"{path} has {len(ends)} words; {train} for training and {validation} for validation leave "
        f"none for test"
    )
  first, second = ends[train - 1], ends[train + validation - 1]
  return Corpus(str(path), text[:first], text[first:second], text[second:])


def tiny_shakespeare() -> Corpus:
  """TFDS tiny_shakespeare: 1,115,394 characters in splits of 90, 5 and 5 %.

  Raises:
    UserError: the data set is not prepared on this machine.

  Source: Karpathy, "The unreasonable effectiveness of recurrent neural networks" (2015).
  """
  try:
    texts = {split: tfds.load("tiny_shakespeare", split)[0]["text"].decode() for split in SPLITS}
  except UserError as e:
    raise UserError(f"{e}; or use a text file") from None
  return Corpus("tiny_shakespeare", **texts)


def python_source(max_characters: int) -> Corpus:
  """The source code of the running Python's standard library; needs no download.

  Files are read in sorted order, without site-packages, tests and files that are not UTF-8.
  Of every twenty files the 19th is for validation and the 20th for test, so that no file is
  in two splits. A split ends when it has its fraction (90, 5, 5 %) of max_characters.

  Args:
    max_characters: the maximum size of the three splits together.

  Raises:
    UserError: max_characters is below 1.
  """
  if max_characters < 1:
    raise UserError(f"max_characters: expected at least 1, got {max_characters}")
  root = pathlib.Path(sysconfig.get_paths()["stdlib"])
  # Integers have no largest value, unlike floats.
  left = {split: max_characters * n // 100 for split, n in zip(SPLITS, (90, 5, 5))}
  contents = {split: [] for split in SPLITS}
  for i, path in enumerate(_source_files(root)):
    split = {18: "validation", 19: "test"}.get(i % 20, "train")
    if not left[split]:
      continue
    try:
      content = path.read_text(encoding="utf-8")[: left[split]]
    except (UnicodeDecodeError, OSError):
      continue
    contents[split].append(content)
    left[split] -= len(content)
    if not any(left.values()):
      break
  return Corpus("python_source", **{split: "".join(files) for split, files in contents.items()})


def _source_files(root: pathlib.Path) -> list[pathlib.Path]:
  skipped = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}
  found = []
  for folder, folders, files in os.walk(root):
    folders[:] = [name for name in folders if name not in skipped]
    found += [pathlib.Path(folder, name) for name in files if name.endswith(".py")]
  return sorted(found)
