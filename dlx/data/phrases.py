"""A validation split for training sets of sentences and their phrases, such as SST-2."""

import numpy as np

from dlx.data.split import T
from dlx.errors import UserError


def train_validation_split(documents: T, count: int, seed: int = 0) -> tuple[T, T]:
  """Splits off whole sentences, and drops their phrases from the training documents.

  A sentence is a document that is not a phrase (consecutive words) of another one. Phrases
  of validation sentences are dropped, since a classifier trained on them scores better on
  these sentences than on new ones.

  Args:
    documents: Documents, with words separated by spaces.
    count: the number of validation sentences.
    seed: seed of the draw.

  Returns:
    (training documents, validation sentences), both in the order of `documents`.

  Raises:
    UserError: count is negative, or there are not more sentences than that.
  """
  words = [tuple(text.split()) for text in documents.texts]
  seen, sentences = set(), []
  for i in sorted(range(len(words)), key=lambda i: -len(words[i])):
    if words[i] not in seen:
      sentences.append(i)
      seen.update(_phrases(words[i]))
  if not 0 <= count < len(sentences):
    raise UserError(
        f"num_validation: expected 0 <= num_validation < {len(sentences)}, the number of whole "
        f"sentences, got {count}"
    )
  chosen = np.sort(np.random.default_rng(seed).permutation(sorted(sentences))[:count])
  held_out = {phrase for i in chosen for phrase in _phrases(words[i])}
  kept = [i for i, text in enumerate(words) if text not in held_out]
  return documents.take(np.array(kept, int)), documents.take(chosen)


def _phrases(words: tuple[str, ...]):
  """All runs of consecutive words."""
  for start in range(len(words)):
    for stop in range(start + 1, len(words) + 1):
      yield words[start:stop]
