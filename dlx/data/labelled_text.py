"""Texts with a class each: TFDS sets, tables of one's own, and sentences made on the spot."""

import dataclasses
import hashlib
import json
import pathlib

import numpy as np

from dlx.data import tfds
from dlx.errors import UserError

SENTIMENTS = ("negative", "positive")
# TFDS name: the feature that holds the text.
_FEATURES = {"imdb_reviews": "text", "glue/sst2": "sentence"}


@dataclasses.dataclass(frozen=True)
class LabelledTexts:
  """Texts, the place of each one's class, and the classes' names.

  A label of -1 stands for a text without a class.
  """

  texts: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.texts)

  def take(self, places: np.ndarray) -> "LabelledTexts":
    """The texts at some places, in that order."""
    return LabelledTexts(tuple(self.texts[i] for i in places), self.labels[places], self.classes)

  @property
  def fingerprint(self) -> str:
    """A digest of texts and labels: it tells whether a run resumes on the same ones."""
    digest = hashlib.sha256(self.labels.astype("<i4").tobytes())
    for text in self.texts:
      digest.update(text.encode() + b"\0")
    return digest.hexdigest()[:16]


def from_tfds(name: str, split: str) -> LabelledTexts:
  """A split of "imdb_reviews" or "glue/sst2"; the classes are negative and positive.

  The split "unsupervised" of imdb_reviews has labels of -1.

  Raises:
    UserError: the set is another one, or is not prepared on this machine.
  """
  if name not in _FEATURES:
    raise UserError(f"{name!r} is not one of {', '.join(_FEATURES)}")
  examples = tfds.load(name, split)
  texts, labels = zip(*((e[_FEATURES[name]].decode(), int(e["label"])) for e in examples))
  return LabelledTexts(texts, np.array(labels, np.int32), SENTIMENTS)


def from_file(
    path: str | pathlib.Path, text_column: str = "text", label_column: str = "label"
) -> LabelledTexts:
  """A table with a text and a label in each row; the classes are the labels in sorted order.

  Args:
    path: a .csv, .tsv or .jsonl file in UTF-8.
    text_column, label_column: the names of the two columns.

  Raises:
    UserError: the file cannot be read, a row is broken (its number is named), a column
      is missing, a text or a label is, or there are fewer than two classes.
  """
  path = pathlib.Path(path)
  columns = _columns(path)
  for column in (text_column, label_column):
    if column not in columns:
      raise UserError(f"{path} has no column {column!r}; it has {', '.join(columns) or 'none'}")
  texts, labels = (columns[name] for name in (text_column, label_column))
  for row, pair in enumerate(zip(texts, labels), 1):
    for name, value in zip((text_column, label_column), pair):
      if value is None or not str(value).strip():
        raise UserError(f"{path}: row {row} has no {name}")
  classes = sorted({str(label) for label in labels})
  if len(classes) < 2:
    raise UserError(f"{path} has {len(classes)} class(es); a classifier needs at least two")
  places = {name: i for i, name in enumerate(classes)}
  labels = np.array([places[str(label)] for label in labels], np.int32)
  return LabelledTexts(tuple(map(str, texts)), labels, tuple(classes))


def _columns(path: pathlib.Path) -> dict[str, list]:
  if path.is_dir():
    raise UserError(f"{path} is a directory; name one .csv, .tsv or .jsonl file")
  if not path.exists():
    raise UserError(f"{path} does not exist; name a .csv, .tsv or .jsonl file")
  if path.suffix == ".jsonl":
    return _json_columns(path)
  if path.suffix not in (".csv", ".tsv"):
    raise UserError(f"{path}: {path.suffix!r} is none of .csv, .tsv, .jsonl")
  import pyarrow  # Takes a while, and only files need it.
  from pyarrow import csv

  parse = csv.ParseOptions(
      delimiter="," if path.suffix == ".csv" else "\t", newlines_in_values=True
  )
  # One thread counts rows, which an error then names; every column is read as text.
  read = csv.ReadOptions(use_threads=False)
  try:
    names = csv.open_csv(path, read, parse).schema.names
    types = csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.string()))
    return csv.read_csv(path, read, parse, types).to_pydict()
  except (pyarrow.ArrowInvalid, OSError) as e:
    raise UserError(f"{path} cannot be read: {str(e).splitlines()[0]}") from None


def _json_columns(path: pathlib.Path) -> dict[str, list]:
  try:
    lines = path.read_text(encoding="utf-8").splitlines()
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f"{path} cannot be read: {e}") from None
  rows = []
  for number, line in enumerate(lines, 1):
    if not line.strip():
      continue
    try:
      row = json.loads(line)
    except json.JSONDecodeError as e:
      raise UserError(f"{path}: row {number} is no JSON ({e.msg})") from None
    if not isinstance(row, dict):
      raise UserError(f"{path}: row {number} is no JSON object")
    rows.append(row)
  names = dict.fromkeys(name for row in rows for name in row)
  return {name: [row.get(name) for row in rows] for name in names}


_SUBJECTS = ("the film", "this story", "the plot", "her acting", "the ending", "that song")
_GOOD = ("great", "moving", "clever", "warm", "lovely", "bright")
_BAD = ("dull", "clumsy", "empty", "tired", "ugly", "noisy")


def sentences(count: int, seed: int = 0) -> LabelledTexts:
  """Small made-up reviews whose adjectives decide, and "not" turns them round.

  Args:
    count: how many; the classes take turns.
    seed: of the draws.
  """
  rng = np.random.default_rng(seed)
  texts, labels = [], np.arange(count, dtype=np.int32) % 2
  for label in labels:
    negated = rng.random() < 0.3
    words = _GOOD if label != negated else _BAD
    clauses = [
        f"{rng.choice(_SUBJECTS)} was {'not ' if negated else ''}{rng.choice(words)}"
        for _ in range(rng.integers(1, 4))
    ]
    texts.append(" and ".join(clauses))
  return LabelledTexts(tuple(texts), labels, SENTIMENTS)
