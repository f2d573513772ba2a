"""Files of word vectors, in the text formats of word2vec and GloVe."""

from collections.abc import Iterator, Sequence
import gzip
import pathlib
from typing import NamedTuple
import zlib

from jaxtyping import Float
import numpy as np

from dlx import paths
from dlx.data import files as data_files
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import files


class WordVectors(NamedTuple):
  """Words with their vectors.

  Attributes:
    words: V strings.
    vectors: float32 (V, D).
  """

  words: Sequence[str]
  vectors: Float[np.ndarray, "V D"]


def read(path: str | pathlib.Path) -> WordVectors:
  """Reads a text file with a word and its numbers per line, separated by spaces.

  A first line of two integers is word2vec's header, the numbers of words and of dimensions; the
  files of GloVe have none. A name that ends in .gz is decompressed. A word may contain spaces, if
  a header or the first line tells the number of dimensions. Of a word that occurs twice, the
  first vector counts.

  Raises:
    UserError: the file cannot be read, or a line is malformed (the message has its number).
  """
  path = pathlib.Path(paths.expand(path))
  data_files.check_regular(path)
  header, d, words, rows, seen, number = None, None, [], [], set(), 0
  for number, line in enumerate(_lines(path), 1):
    where, parts = f"{path}: line {number}", line.split(" ")
    if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
      header, d = int(parts[0]), int(parts[1])
      continue
    if not line:
      raise UserError(f"{where} is empty; expected a word and its numbers")
    if d is None:
      d = len(parts) - 1
    if d < 1 or len(parts) <= d:
      raise UserError(
          f"{where} has {len(parts) - 1} numbers after the word; expected "
          f"{d or 'at least one'}{_reason(header)}"
      )
    word = " ".join(parts[:-d])
    try:
      row = np.array(parts[-d:], np.float32)
    except ValueError:
      bad = next(part for part in parts[-d:] if not _is_number(part))
      raise UserError(f"{where}: {bad[:40]!r} is not a number") from None
    if " " in word and header is None and _is_number(parts[-d - 1]):
      raise UserError(f"{where} has {len(parts) - 1} numbers after the word; expected {d}")
    if not np.isfinite(row).all():
      raise UserError(f"{where}: the vector of {word!r} is not finite")
    if word not in seen:
      seen.add(word)
      words.append(word)
      rows.append(row)
  if header is not None and number - 1 != header:
    raise UserError(
        f"{path}: line 1 says {header} words, but {number - 1} lines follow; the file is not "
        f"complete, or its header is wrong"
    )
  if not words:
    raise UserError(f"{path} has no word vectors; expected a word and its numbers per line")
  return WordVectors(words, np.stack(rows))


def _reason(header: int | None) -> str:
  return ", as in line 1" if header is None else ", the dimensions that line 1 names"


def _is_number(part: str) -> bool:
  try:
    float(part)
  except ValueError:
    return False
  return True


def _lines(path: pathlib.Path) -> Iterator[str]:
  opened = gzip.open if path.suffix == ".gz" else open
  try:
    with opened(path, "rb") as file:
      for number, line in enumerate(file, 1):
        try:
          yield line.decode().rstrip(" \r\n")  # word2vec's own program ends lines with a space.
        except UnicodeDecodeError:
          raise UserError(
              f"{path}: line {number} is not UTF-8; expected a text file, not word2vec's binary "
              f"format"
          ) from None
  except (OSError, EOFError, zlib.error) as e:
    raise UserError(f"{path} cannot be read: {getattr(e, 'strerror', None) or e}") from None


def write(path: str | pathlib.Path, words: Sequence[str], vectors: Float[np.ndarray, "V D"]):
  """Writes word2vec's text format, which gensim's load_word2vec_format and `read` read.

  Reading gives the same float32. Spaces in a word become underscores, since
  a space ends it.

  Raises:
    UserError: the file cannot be written.
  """
  vectors = np.asarray(vectors, np.float32)
  numbers = " %.9g" * vectors.shape[1] + "\n"  # Nine digits keep a float32.
  lines = [f"{len(words)} {vectors.shape[1]}\n"]
  for word, row in zip(words, vectors):
    lines.append("_".join(word.split()) + numbers % tuple(row.tolist()))
  try:
    files.write(pathlib.Path(path), "".join(lines))
  except OSError as e:
    raise UserError(f"{path} cannot be written: {e.strerror}") from None


def initial_table(
    path: str | pathlib.Path, words: Sequence[str], d: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "V D"], int]:
  """A table for the words of a model that starts from the vectors of a file.

  A word that the file lacks is looked up in lower case; if it lacks that too, its vector is
  drawn with the standard deviation of the vectors that were found.

  Args:
    path: of the file; see `read`.
    words: of the model.
    d: the size of the model's vectors.
    rng: for the words that the file lacks.

  Returns:
    (the table, float32; how many of the words the file has).

  Raises:
    UserError: the file cannot be read, its vectors have another size, or it has none of the words.
  """
  found = read(path)
  if found.vectors.shape[1] != d:
    raise UserError(
        f"the vectors in {path} have {found.vectors.shape[1]} dimensions, those of the model {d}; "
        f"set the model's size to {found.vectors.shape[1]}, or name another file"
    )
  return table_of(found, words, rng, path)


def table_of(
    found: WordVectors, words: Sequence[str], rng: np.random.Generator, source: str | pathlib.Path
) -> tuple[Float[np.ndarray, "V D"], int]:
  """`initial_table` with the vectors found in `source`, a file or a run."""
  index = {word: i for i, word in enumerate(found.words)}
  at = np.array([index.get(word, index.get(word.lower(), -1)) for word in words])
  if (at < 0).all():
    raise UserError(f"{source} has none of the {len(words)} words of the model")
  known = found.vectors[at[at >= 0]]
  shape = (len(words), found.vectors.shape[1])
  table = rng.normal(0, known.std(), shape).astype(np.float32)
  table[at >= 0] = known
  return table, len(known)


def starting_table(
    path: str | pathlib.Path, words: Sequence[str], d: int, seed: int
) -> Float[np.ndarray, "V D"]:
  """`initial_table`, which says how many of the words the file has."""
  table, known = initial_table(path, words, d, np.random.default_rng(seed))
  processes.notice(f"{path} has {known:,} of the {len(words):,} words")
  return table
