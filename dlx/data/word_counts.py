"""The words of documents as ids: a vocabulary of counted words, and one array of all ids."""

import collections
from collections.abc import Iterable, Iterator, Sequence
import re
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np

from dlx.errors import UserError

END = -1  # After each document, so that no window crosses it.
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_TAG = re.compile(r"<br\s*/?>")


class Vocabulary(NamedTuple):
  """Words by descending count; of equally frequent ones, a before b.

  Attributes:
    words: V words; an id is an index into them.
    counts: how often each occurs, (V,).
  """

  words: Sequence[str]
  counts: Int[np.ndarray, "V"]


def split(text: str, *, lowercase: bool, punctuation: bool) -> list[str]:
  """The words of a text.

  Args:
    text: the text; `<br />`, as in the film reviews of IMDB, is a space.
    lowercase: fold upper case.
    punctuation: words are what stands between white space, with their punctuation, as in a text
      whose tokens are separated. Otherwise they are letters and digits, with apostrophes inside.
  """
  text = _TAG.sub(" ", text.lower() if lowercase else text)
  return text.split() if punctuation else _WORD.findall(text)


def count(
    documents: Iterable[Sequence[str]], *, min_count: int, max_words: int | None = None
) -> Vocabulary:
  """The words that occur at least `min_count` times, at most `max_words` of them.

  Raises:
    UserError: fewer than two words are left.
  """
  counts = collections.Counter()
  for words in documents:
    counts.update(words)
  kept = [(word, n) for word, n in counts.items() if n >= min_count]
  kept.sort(key=lambda item: (-item[1], item[0]))
  kept = kept[:max_words]
  if len(kept) < 2:
    raise UserError(
        f"of {len(counts)} different words {len(kept)} occur at least {min_count} times; expected "
        f"at least two: lower min_count, or give a longer text"
    )
  return Vocabulary([word for word, _ in kept], np.array([n for _, n in kept], np.int64))


def encode(documents: Iterable[Sequence[str]], words: Sequence[str]) -> Int[np.ndarray, "N"]:
  """The ids of all documents in one array, int32, with END after each.

  Other words are left out, and the words around them become neighbours, as in word2vec.
  """
  ids = {word: i for i, word in enumerate(words)}

  def found() -> Iterator[int]:
    for document in documents:
      yield from (ids[word] for word in document if word in ids)
      yield END

  return np.fromiter(found(), np.int32)


def keep_probabilities(
    counts: Int[np.ndarray, "V"], threshold: float | None
) -> Float[np.ndarray, "V"]:
  """The probability with which an occurrence of each word is kept, float32.

    min(1, sqrt(t / f) + t / f),   f the word's share of all occurrences

  Args:
    counts: of the words.
    threshold: t; None keeps everything.

  Source: the program word2vec; Mikolov et al., "Distributed representations of words and phrases
    and their compositionality" (2013), section 2.3, has 1 - sqrt(t / f) as the probability to
    discard.
  """
  if threshold is None:
    return np.ones(len(counts), np.float32)
  ratio = threshold * counts.sum() / counts
  return np.minimum(1, np.sqrt(ratio) + ratio).astype(np.float32)
