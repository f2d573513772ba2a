"""The texts that word vectors are learned from, as ids in one array per split."""

from collections.abc import Iterator, Sequence

import numpy as np

from dlx.data import corpus, word_counts
from dlx.data import documents as reviews
from dlx.data.word_counts import Vocabulary
from dlx.errors import UserError


def texts(options) -> dict[str, Sequence[str]]:
  """The documents of each split.

  Args:
    options: text (a file, a document per line), or dataset: one of dlx.data.documents, whose
      documents without a label are for training, or of dlx.data.corpus.

  Raises:
    UserError: they cannot be read.
  """
  if not options.text and options.dataset in reviews.SOURCES:
    parts = reviews.load(options.dataset, num_validation=options.num_validation)
    train = parts.train.texts + reviews.unlabelled(options.dataset)
    return dict(zip(corpus.SPLITS, (train, parts.validation.texts, parts.test.texts)))
  text = corpus.load(
      options.dataset, path=options.text, max_characters=options.max_characters
  )
  return {split: text.split(split).split("\n") for split in corpus.SPLITS}


def load(options, words: Sequence[str] | None = None) -> tuple[dict[str, np.ndarray], Vocabulary]:
  """({split: ids (N,) with END after each document}, the vocabulary of the training split).

  Args:
    options: config.data: those of `texts`, lowercase, punctuation, min_count and max_words.
    words: a vocabulary's; None to count one. Its counts are those of the training split.

  Raises:
    UserError: the texts cannot be read, or a split has no pair of known words.
  """
  parts = texts(options)

  def documents(split: str) -> Iterator[list[str]]:
    for text in parts[split]:
      yield word_counts.split(text, lowercase=options.lowercase, punctuation=options.punctuation)

  counts = None
  if words is None:
    words, counts = word_counts.count(
        documents("train"), min_count=options.min_count, max_words=options.max_words
    )
  ids = {split: word_counts.encode(documents(split), words) for split in parts}
  for split, found in ids.items():
    known = found != word_counts.END
    if not (known[1:] & known[:-1]).any():
      raise UserError(
          f"the {split} text has no two neighbouring words of the vocabulary; give a longer text, "
          f"or lower min_count"
      )
  if counts is None:
    counts = np.bincount(ids["train"][ids["train"] >= 0], minlength=len(words))
  return ids, Vocabulary(words, counts)


def sequences(ids: np.ndarray, seq_len: int) -> np.ndarray:
  """A text (N,) in rows (W, T), the last one filled with END."""
  missing = -len(ids) % seq_len
  padded = np.concatenate([ids, np.full(missing, word_counts.END, np.int32)])
  return padded.reshape(-1, seq_len)
