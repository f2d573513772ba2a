"""Held-out sentences where the training texts are sentences and their parts, as in SST-2."""

import numpy as np

from dlx.data.labelled_text import LabelledTexts
from dlx.errors import UserError


def _parts(words: tuple[str, ...]):
  """All runs of consecutive words."""
  for start in range(len(words)):
    for stop in range(start + 1, len(words) + 1):
      yield words[start:stop]


def split_off_sentences(
    data: LabelledTexts, count: int, seed: int = 0
) -> tuple[LabelledTexts, LabelledTexts]:
  """(training texts, held-out ones): the held-out ones are whole sentences, and unseen.

  A sentence is a text that is no part of another one. Of the texts that remain, those that
  are a part of a held-out sentence go nowhere: a classifier that has seen the parts of a
  sentence finds it easier than a new one.

  Args:
    data: the texts, their words separated by blanks.
    count: how many sentences are held back.
    seed: of the draw.

  Raises:
    UserError: count is negative, or there are not more sentences than that.
  """
  words = [tuple(text.split()) for text in data.texts]
  seen, sentences = set(), []
  for place in sorted(range(len(words)), key=lambda i: -len(words[i])):
    if words[place] not in seen:
      sentences.append(place)
      seen.update(_parts(words[place]))
  if not 0 <= count < len(sentences):
    raise UserError(
        f"config.data.validation is {count}; use 0 or more, and less than the {len(sentences)} "
        f"sentences"
    )
  chosen = np.sort(np.random.default_rng(seed).permutation(sorted(sentences))[:count])
  held_out = {part for place in chosen for part in _parts(words[place])}
  kept = [place for place, text in enumerate(words) if text not in held_out]
  return data.take(np.array(kept, int)), data.take(chosen)
