"""Documents as rows of whole words: the tokens of bag-of-n-gram classifiers.

A token is a word, with its apostrophes, or a mark of punctuation. Every word of the training
documents has an id; a word that they do not have, like padding, is UNKNOWN.
"""

from collections.abc import Callable, Mapping, Sequence
import re

import numpy as np

from dlx.data.documents import Documents
from dlx.errors import UserError

UNKNOWN = -1
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)  # Words that chunks are truncated to.
_TOKEN = re.compile(r"\w+(?:['\u2019]\w+)*|[^\w\s]")
_LINE_BREAK = re.compile(r"<br\s*/?>")  # Of web pages, such as the reviews of IMDB.


def tokenize(text: str, *, lowercase: bool = True) -> list[str]:
  """The words and marks of a text: "It's (not) bad!" -> it's ( not ) bad !"""
  text = _LINE_BREAK.sub(" ", text)
  return _TOKEN.findall(text.lower() if lowercase else text)


def vocabulary(texts: Sequence[str], *, lowercase: bool = True) -> list[str]:
  """Every token of the texts, in alphabetical order; a word's index is its id.

  Raises:
    UserError: there is none.
  """
  words = {word for text in texts for word in tokenize(text, lowercase=lowercase)}
  if not words:
    raise UserError("the training documents have no words")
  return sorted(words)


def rows(
    documents: Sequence[Sequence[str]], ids: Mapping[str, int], max_length: int
) -> dict[str, np.ndarray]:
  """{"ids": int32 (N, T), "lengths": (N,)} of tokenized documents, cut to max_length words."""
  cut = [[ids.get(word, UNKNOWN) for word in words[:max_length]] for words in documents]
  lengths = np.array([len(row) for row in cut], np.int32)
  padded = np.full((len(cut), max(1, lengths.max(initial=0))), UNKNOWN, np.int32)
  for row, found in zip(padded, cut):
    row[: len(found)] = found
  return {"ids": padded, "lengths": lengths}


def make_reader(ids: Mapping[str, int], *, max_length: int, lowercase: bool) -> Callable:
  """`read(lines) -> {"ids", "lengths"}`; it raises UserError if a document has no words."""

  def read(lines: Sequence[str]) -> dict[str, np.ndarray]:
    found = [tokenize(line, lowercase=lowercase) for line in lines]
    if not all(found):
      raise UserError(f"{lines[found.index([])]!r} has no words; give the text of a document")
    return rows(found, ids, max_length)

  return read


def arrays(
    part: Documents, ids: Mapping[str, int], *, max_length: int, lowercase: bool
) -> dict[str, np.ndarray]:
  """The examples of labelled documents: `rows` with "labels" and "text"."""
  found = rows([tokenize(t, lowercase=lowercase) for t in part.texts], ids, max_length)
  return {**found, "labels": part.labels, "text": np.array(part.texts, object)}
