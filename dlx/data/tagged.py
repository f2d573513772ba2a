"""Sentences with a tag for each word: files in CoNLL's manner, and generated sentences."""

from collections.abc import Sequence
import dataclasses
import gzip
import pathlib
import zlib

import numpy as np

from dlx import paths
from dlx.data import files
from dlx.data import text as text_files
from dlx.data.split import Splits, train_validation_split
from dlx.errors import UserError

DOCUMENT = "-DOCSTART-"  # In CoNLL-2003, a line between documents in place of a word.
KIND = "file with a word and its tag a line"


@dataclasses.dataclass(frozen=True)
class Tagged:
  """Sentences.

  Attributes:
    words: a tuple of words for each sentence.
    tags: a tuple of as many tags.
  """

  words: tuple[tuple[str, ...], ...]
  tags: tuple[tuple[str, ...], ...]

  def __len__(self) -> int:
    return len(self.words)

  def take(self, indices: np.ndarray) -> "Tagged":
    """The sentences at `indices`, in that order."""
    return Tagged(tuple(self.words[i] for i in indices), tuple(self.tags[i] for i in indices))

  def in_pieces(self, length: int) -> "Tagged":
    """The same words and tags, with sentences of more words than `length` cut."""
    cut = lambda rows: tuple(p for row in rows for p in pieces(row, length))  # noqa: E731
    return Tagged(cut(self.words), cut(self.tags))


def pieces(row: Sequence, length: int) -> list[Sequence]:
  """A sequence cut after every `length` items."""
  return [row[i : i + length] for i in range(0, len(row), length)]


def load(
    source: str,
    *,
    file: str | pathlib.Path | None = None,
    validation_file: str | pathlib.Path | None = None,
    test_file: str | pathlib.Path | None = None,
    word_column: int = 1,
    tag_column: int = -1,
    num_validation: int,
) -> Splits[Tagged]:
  """Tagged sentences in three splits.

  Args:
    source: "grammar" (generated: 400 sentences for training and validation, 80 for testing).
    file: replaces `source`; see `from_file`.
    validation_file, test_file: of the other splits. Without them a tenth of the sentences of
      `file`, drawn with seed 1, is the test split, and num_validation of the rest, drawn with
      seed 0, validation.
    word_column, tag_column: as for `from_file`.
    num_validation: validation sentences, where no file has them.

  Raises:
    UserError: the source is unknown, a file cannot be read, or there are too few sentences.
  """
  columns = {"word_column": word_column, "tag_column": tag_column}
  read = lambda path: from_file(paths.expand(path), **columns)  # noqa: E731
  if file:
    train, test = read(file), read(test_file) if test_file else None
  elif validation_file or test_file:
    raise UserError("validation_file, test_file: give the file of the training sentences, too")
  elif source == "grammar":
    train, test = (generate(n, seed=n) for n in (400, 80))
  else:
    raise UserError(f"source: expected grammar, got {source!r}; or use a file")
  if test is None:
    train, test = train_validation_split(train, max(1, len(train) // 10), seed=1)
  if validation_file:
    return Splits(train, read(validation_file), test)
  return Splits(*train_validation_split(train, num_validation), test)


def from_options(options) -> Splits[Tagged]:
  """`load` with the options of its names, and "dataset" for the source."""
  names = ("file", "validation_file", "test_file", "word_column", "tag_column", "num_validation")
  return load(options.dataset, **{name: options[name] for name in names})


def from_file(
    path: str | pathlib.Path, *, word_column: int = 1, tag_column: int = -1
) -> Tagged:
  """A file in CoNLL's manner: a word and its tag a line, a blank line between sentences.

  Columns are separated by tabs if the first line with a word has one, else by white space. A
  line before a sentence's first word is a comment if it begins with "#" and has no tab, and is
  skipped; so is a line whose first column is -DOCSTART-. A file whose name ends in .gz is
  decompressed.

  Args:
    path: the file, in UTF-8 or with a byte order mark.
    word_column, tag_column: 1 for the first column, -1 for the last one.

  Raises:
    UserError: the file cannot be read, it has no sentence, a line has another number of columns
      than the first one or an empty word or tag (the message has the line's number), or the
      columns are not so many.
  """
  lines = _content(path).split("\n")  # str.splitlines ends lines at U+2028 too.
  sentences, words, tags, width, separator = [], [], [], None, None
  for number, line in enumerate((*lines, ""), 1):
    line = line.rstrip("\r")
    if not line.strip():
      if words:
        sentences.append((tuple(words), tuple(tags)))
      words, tags = [], []
      continue
    if not words and line.startswith("#") and "\t" not in line:
      continue
    if width is None:
      separator = "\t" if "\t" in line else None
    row = [value.strip() for value in line.split(separator)]
    if row[0] == DOCUMENT:
      continue
    if width is None:
      width = len(row)
      word, tag = (_index(path, width, name, column) for name, column in (
          ("word_column", word_column), ("tag_column", tag_column)
      ))  # fmt: skip
    if len(row) != width:
      raise UserError(
          f"{path}: the number of columns is {len(row)} in line {number}, and {width} in the first "
          "line with a word"
      )
    if not (row[word] and row[tag]):
      raise UserError(f"{path}: line {number} has no {'tag' if row[word] else 'word'}")
    words.append(row[word])
    tags.append(row[tag])
  if not sentences:
    raise UserError(f"{path} has no sentence; name a {KIND}")
  return Tagged(*zip(*sentences))


def _content(path) -> str:
  content = files.read_bytes(path, KIND)
  if pathlib.Path(path).suffix == ".gz":
    try:
      content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as e:
      raise UserError(f"{path} cannot be decompressed: {e}") from None
  return text_files.decode(content, path)


def _index(path, width: int, name: str, column: int) -> int:
  if column == 0 or not -width <= column <= width:
    raise UserError(
        f"{name}: expected 1 to {width} or, from the last, -1 to -{width}, the columns of {path}; "
        f"got {column}"
    )
  return column - (column > 0)


# Words that have several tags here: "saw", "light" and "plays" are nouns or other things.
_LEXICON = {
    "determiner": ("the", "a", "this", "every"),
    "adjective": ("light", "old", "green", "small"),
    "noun": ("saw", "light", "dog", "play", "house", "friend"),
    "verb": ("saw", "plays", "sees", "likes", "paints"),
    "adverb": ("here", "often", "loudly"),
}
_STEMS = ("Ander", "Jon", "Peter", "Carl", "Erik", "Nil", "Matt", "Hend", "Robin", "Wil", "Lar")


def generate(count: int, seed: int = 0) -> Tagged:
  """Sentences of a small grammar: noun phrase, verb, noun phrase, and perhaps an adverb.

  A noun phrase is a name, or a determiner, perhaps an adjective, and a noun. Some words have
  several tags; of the names, which end in -son, some occur in few sentences. One adjective in ten
  is tagged as a noun, at random: no tagger is always right.

  Args:
    count: the number of sentences.
    seed: seed of the draws.
  """
  rng = np.random.default_rng(seed)

  def phrase():
    if rng.random() < 0.3:
      return ["name"]
    return ["determiner", *(["adjective"] if rng.random() < 0.4 else []), "noun"]

  def word(tag):
    if tag == "name":
      return "".join((*rng.choice(_STEMS, rng.integers(1, 3), replace=False), "son")).capitalize()
    return "." if tag == "stop" else str(rng.choice(_LEXICON[tag]))

  def annotated(tag):
    return "noun" if tag == "adjective" and rng.random() < 0.1 else tag

  rows = [
      (*phrase(), "verb", *phrase(), *(["adverb"] if rng.random() < 0.3 else []), "stop")
      for _ in range(count)
  ]
  words, tags = (tuple(tuple(map(of, row)) for row in rows) for of in (word, annotated))
  return Tagged(words, tags)
