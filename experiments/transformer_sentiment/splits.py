"""Which texts a run trains on, which it holds back, and the tokens they become."""

from typing import NamedTuple

import ml_collections
import numpy as np
import tokenizers

from dlx.data import labelled_text, phrases, tokens
from dlx.data.labelled_text import LabelledTexts
from dlx.data.split import split_off
from dlx.errors import UserError

# TFDS keeps the labels of GLUE's test split from its readers.
_TEST = {"imdb_reviews": "test", "glue/sst2": "validation"}


class Encoded(NamedTuple):
  """Texts as rows of tokens.

  Attributes:
    ids: int32 (N, longest), padded with 0.
    lengths: int32 (N,).
    labels: int32 (N,).
  """

  ids: np.ndarray
  lengths: np.ndarray
  labels: np.ndarray


def load_data(config: ml_collections.ConfigDict, split: str) -> LabelledTexts:
  """The texts of "train", "validation" or "test".

  A file has no test split of its own: a tenth of it, drawn with seed 1, is kept for that.
  The test split of SST-2 is GLUE's validation split, since GLUE's own has no labels.

  Raises:
    UserError: no such split or source, or the texts cannot be read.
  """
  if split not in ("train", "validation", "test"):
    raise UserError(f"split {split!r} is not one of train, validation, test")
  options = config.data
  if options.file:
    data = labelled_text.from_file(options.file, options.text_column, options.label_column)
    rest, test = split_off(data, len(data) // 10, seed=1)
  elif options.source == "sentences":
    rest, test = (labelled_text.sentences(n, seed=n) for n in (400, 80))
  elif options.source not in _TEST:
    raise UserError(
        f"config.data.source is {options.source!r}; use {', '.join(_TEST)} or sentences, or give "
        f"a table by --config.data.file=PATH"
    )
  elif split == "test":
    return labelled_text.from_tfds(options.source, _TEST[options.source])
  else:
    rest, test = labelled_text.from_tfds(options.source, "train"), None
  if split == "test":
    return test
  divide = split_off
  if not options.file and options.source == "glue/sst2":  # Its training texts are phrases, too.
    divide = phrases.split_off_sentences
  return divide(rest, options.validation)[split == "validation"]


def load_unlabelled(config: ml_collections.ConfigDict) -> LabelledTexts:
  """The training texts, with those that have no label where the source has such.

  Raises:
    UserError: as `load_data`.
  """
  data = load_data(config, "train")
  if config.data.file or config.data.source != "imdb_reviews":
    return data
  more = labelled_text.from_tfds("imdb_reviews", "unsupervised")
  labels = np.concatenate([data.labels, more.labels])
  return LabelledTexts(data.texts + more.texts, labels, data.classes)


def encode(
    config: ml_collections.ConfigDict, tokenizer: tokenizers.Tokenizer, data: LabelledTexts
) -> Encoded:
  """Texts as rows of at most config.data.max_length tokens."""
  return Encoded(*tokens.encode(tokenizer, data.texts, config.data.max_length), data.labels)


def sorted_by_length(encoded: Encoded) -> Encoded:
  """The same rows, the shortest text first, as `batches.by_length` needs them."""
  order = np.argsort(encoded.lengths, kind="stable")
  return Encoded(*(array[order] for array in encoded))


def sizes(config: ml_collections.ConfigDict) -> tuple[int, ...]:
  """The lengths that batches are cut to: max_length and fractions of it, the shortest first."""
  count, longest = config.data.buckets, config.data.max_length
  return tuple(sorted({-(-longest * i // count) for i in range(1, count + 1)}))
