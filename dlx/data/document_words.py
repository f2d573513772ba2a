"""Documents as pieces of running text: rows of word ids for a language model of words.

Ids are those of dlx.data.tagged_arrays: 0 is a word without an embedding, 1 the first word.
"""

from collections.abc import Sequence

import numpy as np

from dlx.data import tokens
from dlx.data.tagged_arrays import UNKNOWN

_AT_ONCE = 1000  # The tokenizer's result of a word takes hundreds of bytes.


def pieces(
    texts: Sequence[str], words: Sequence[str], *, max_length: int, lowercase: bool
) -> dict[str, np.ndarray]:
  """Documents cut after every max_length words, split into words as by `tokens.train_words`.

  Args:
    texts: documents; an empty one has no piece.
    words: those with an embedding.
    max_length: T.
    lowercase: convert to lower case and strip accents.

  Returns:
    "ids" int32 (N, T), padded with zeros, and "lengths" int32 (N,).
  """
  tokenizer = tokens.of_words(words, lowercase=lowercase)
  found = []
  for start in range(0, len(texts), _AT_ONCE):
    some = texts[start : start + _AT_ONCE]
    found += [np.array(e.ids, np.int32) for e in tokens.encodings(tokenizer, some, special=False)]
  rows = [row[i : i + max_length] for row in found for i in range(0, len(row), max_length)]
  ids = np.zeros((len(rows), max_length), np.int32)
  first = len(tokens.SPECIAL)
  for row, of_piece in zip(ids, rows):
    row[: len(of_piece)] = np.where(of_piece < first, UNKNOWN, of_piece - first + UNKNOWN + 1)
  return {"ids": ids, "lengths": np.array([*map(len, rows)], np.int32)}
