"""Labelled documents: TFDS data sets, tables, and generated sentences."""

import dataclasses
import pathlib

import numpy as np

from dlx import paths
from dlx.data import phrases, tables, tfds
from dlx.data.split import Splits, train_validation_split
from dlx.distributed import processes
from dlx.errors import UserError

SENTIMENTS = ("negative", "positive")
# TFDS name: the feature that holds the text.
_FEATURES = {"imdb_reviews": "text", "glue/sst2": "sentence"}
# TFDS name: the split to test on. The labels of GLUE's own test split are not published.
_TEST = {"imdb_reviews": "test", "glue/sst2": "validation"}
SOURCES = (*_FEATURES, "sentences", "reviews")


@dataclasses.dataclass(frozen=True)
class Documents:
  """Documents with their labels.

  Attributes:
    texts: N strings.
    labels: int32 (N,), indices into `classes`; -1 for an unlabelled document.
    classes: the class names.
  """

  texts: tuple[str, ...]
  labels: np.ndarray
  classes: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.texts)

  def take(self, indices: np.ndarray) -> "Documents":
    """The documents at `indices`, in that order."""
    return Documents(tuple(self.texts[i] for i in indices), self.labels[indices], self.classes)


def join(*parts: Documents) -> Documents:
  """The documents of several parts with the same classes, in their order."""
  texts = sum((part.texts for part in parts), ())
  return Documents(texts, np.concatenate([part.labels for part in parts]), parts[0].classes)


def load(
    source: str,
    *,
    file: str | pathlib.Path | None = None,
    text_column: str = "text",
    label_column: str | None = "label",
    num_validation: int,
) -> Splits[Documents]:
  """A data set in three splits; the validation split is drawn from the training documents.

  The test split of SST-2 is GLUE's validation split, since GLUE's own has no labels. Its
  validation split is drawn by `phrases.train_validation_split`, since its training documents
  are sentences and phrases of them.

  Args:
    source: "imdb_reviews", "glue/sst2", "sentences" or "reviews" (generated: 400 for training
      and validation, 80 for testing).
    file: replaces `source`: a table (see `from_file`), of which a tenth, drawn with seed 1,
      is the test split.
    text_column, label_column: the column names of `file`; see `from_file`.
    num_validation: the number of validation documents.

  Raises:
    UserError: the source is unknown, it cannot be read, or has too few documents.
  """
  split = train_validation_split
  if file:
    data = from_file(paths.expand(file), text_column, label_column)
    train, test = split(data, len(data) // 10, seed=1)
  elif source in ("sentences", "reviews"):
    generate = sentences if source == "sentences" else reviews
    train, test = (generate(n, seed=n) for n in (400, 80))
  elif source in _TEST:
    train, test = (from_tfds(source, name) for name in ("train", _TEST[source]))
    if source == "glue/sst2":
      split = phrases.train_validation_split
  else:
    raise UserError(
        f"source: expected one of {', '.join(SOURCES)}, got {source!r}; or use a table (file)"
    )
  return Splits(*split(train, num_validation), test)


def from_options(options) -> Splits[Documents]:
  """`load` with options dataset, file, text_column, label_column and num_validation.

  With options.refit, where there is one, the validation documents are training documents, too: for
  a last training with settings that they have chosen. What is then measured on them is of
  documents that the model knows.
  """
  parts = load(
      options.dataset, file=options.file, text_column=options.text_column,
      label_column=options.label_column, num_validation=options.num_validation,
  )  # fmt: skip
  if options.get("refit"):
    parts = parts._replace(train=join(parts.train, parts.validation))
  return parts


def load_texts(
    source: str,
    *,
    file: str | pathlib.Path | None = None,
    text_column: str = "text",
    num_validation: int,
) -> Splits[tuple[str, ...]]:
  """The texts of a data set, for training without labels; the arguments are those of `load`.

  The splits are those of `load`, so that what a classifier is tested on is not among the training
  texts. These have the unlabelled documents of the source, too. A table needs no labels.

  Raises:
    UserError: as `load`.
  """
  parts = load(
      source, file=file, text_column=text_column, label_column=None, num_validation=num_validation
  )
  train, validation, test = (part.texts for part in parts)
  return Splits(train + (() if file else unlabelled(source)), validation, test)


def unlabelled(source: str) -> tuple[str, ...]:
  """The documents of a source that have no label: those of imdb_reviews, else ().

  Raises:
    UserError: imdb_reviews is not prepared on this machine.
  """
  return from_tfds(source, "unsupervised").texts if source == "imdb_reviews" else ()


def with_unlabelled(parts: Splits[Documents], options) -> Splits[Documents]:
  """The splits with the unlabelled documents of options.dataset, if options.unlabelled is set.

  They come after the training documents, with the label -1.
  """
  if not options.unlabelled:
    return parts
  texts = unlabelled(options.dataset)
  more = Documents(texts, np.full(len(texts), -1, np.int32), parts.train.classes)
  return parts._replace(train=join(parts.train, more))


def from_tfds(name: str, split: str) -> Documents:
  """A split of "imdb_reviews" or "glue/sst2"; the classes are negative and positive.

  The labels of the split "unsupervised" of imdb_reviews are -1.

  Raises:
    UserError: the name is another one, or the data set is not prepared on this machine.
  """
  if name not in _FEATURES:
    raise UserError(f"name: expected one of {', '.join(_FEATURES)}, got {name!r}")
  examples = tfds.load(name, split)
  texts, labels = zip(*((e[_FEATURES[name]].decode(), int(e["label"])) for e in examples))
  return Documents(texts, np.array(labels, np.int32), SENTIMENTS)


def from_file(
    path: str | pathlib.Path, text_column: str = "text", label_column: str | None = "label"
) -> Documents:
  """A table with a document and its label per row; the classes are the sorted labels.

  Args:
    path: a .csv, .tsv or .jsonl file; see `tables.read`.
    text_column, label_column: the names of the two columns. Blanks around a label do not
      count. Without a label_column every label is -1, and there are no classes.

  Raises:
    UserError: the file cannot be read, a row is malformed (the message has its number), a
      column, text or label is missing, or there are fewer than two classes.
  """
  names = (text_column,) if label_column is None else (text_column, label_column)
  columns, notices = tables.read(path, names)
  if not columns[0]:
    raise UserError(f"{path} has no rows")
  tables.expect_filled(path, names, columns)
  texts, *labels = columns
  if labels:
    names = [label.strip() for label in labels[0]]
    classes = tuple(sorted(set(names)))
    if len(classes) < 2:
      raise UserError(f"{path}: a classifier needs at least two classes, got {len(classes)}")
    ids = {name: i for i, name in enumerate(classes)}
    found = Documents(tuple(texts), np.array([ids[name] for name in names], np.int32), classes)
  else:
    found = Documents(tuple(texts), np.full(len(texts), -1, np.int32), ())
  for notice in notices:
    processes.notice(notice)
  return found


_SUBJECTS = ("the film", "this story", "the plot", "her acting", "the ending", "that song")
_GOOD = ("great", "moving", "clever", "warm", "lovely", "bright")
_BAD = ("dull", "clumsy", "empty", "tired", "ugly", "noisy")


def sentences(count: int, seed: int = 0) -> Documents:
  """Short generated reviews: an adjective gives the sentiment, and "not" inverts it.

  Args:
    count: the number of sentences; the classes alternate.
    seed: seed of the draws.
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
  return Documents(tuple(texts), labels, SENTIMENTS)


def reviews(count: int, seed: int = 0) -> Documents:
  """Generated reviews of two to four sentences, which share their subject and their sentiment.

  Args:
    count: the number of reviews; the classes alternate.
    seed: seed of the draws.
  """
  rng = np.random.default_rng(seed)
  texts, labels = [], np.arange(count, dtype=np.int32) % 2
  for label in labels:
    subject, words = rng.choice(_SUBJECTS), _GOOD if label else _BAD
    chosen = rng.choice(words, rng.integers(2, 5), replace=False)
    texts.append(" ".join(f"{subject} was {word}." for word in chosen))
  return Documents(tuple(texts), labels, SENTIMENTS)
