"""Counts of the n-grams of a text, sorted."""

from typing import NamedTuple

from jaxtyping import Int
import numpy as np


class Level(NamedTuple):
  """The distinct n-grams of one order, sorted by the first n - 1 tokens and then the last.

  Attributes:
    words: the last token.
    contexts: the first n - 1 tokens, as an index into the level before; ascending.
    suffixes: the last n - 1 tokens, as an index into the level before.
    counts: how often it occurs.
  """

  words: Int[np.ndarray, "N"]
  contexts: Int[np.ndarray, "N"]
  suffixes: Int[np.ndarray, "N"]
  counts: Int[np.ndarray, "N"]


def count(ids: Int[np.ndarray, "T"], order: int, vocab_size: int) -> list[Level]:
  """The n-grams of one text of the orders 1 to `order`, without marks of beginning or end.

  All V tokens of the vocabulary are unigrams, also those that do not occur.

  Args:
    ids: the text, 0 to V - 1.
    order: the largest n.
    vocab_size: V.

  Raises:
    ValueError: order is below 1, or the text is shorter.
  """
  if not 1 <= order <= len(ids):
    raise ValueError(f"order: expected 1 to {len(ids)}, the length of the text, got {order}")
  ids = ids.astype(np.int64)
  nothing = np.zeros(vocab_size, np.int64)
  unigrams = np.bincount(ids, minlength=vocab_size)
  levels = [Level(np.arange(vocab_size), nothing, nothing, unigrams)]
  ending = ids  # The index of the n-gram that ends at each token.
  for n in range(2, order + 1):
    keys = ending[:-1] * vocab_size + ids[n - 1 :]
    distinct, first, found, counts = np.unique(
        keys, return_index=True, return_inverse=True, return_counts=True
    )
    contexts, words = np.divmod(distinct, vocab_size)
    levels.append(Level(words, contexts, ending[1:][first], counts))
    ending = found
  return levels


def continuations(level: Level, longer: Level) -> Int[np.ndarray, "N"]:
  """N_1+(. g): the number of different tokens before each n-gram g of a level.

  Args:
    level: of order n.
    longer: of order n + 1.
  """
  return np.bincount(longer.suffixes, minlength=len(level.words))
