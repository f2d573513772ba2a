"""Counts of words near each other."""

import collections

import numpy as np
import pytest

from dlx.data import cooccurrence
from dlx.data.word_counts import END


def by_loops(ids, window):
  found = collections.Counter()
  for i, word in enumerate(ids):
    for j in range(i + 1, min(i + window + 1, len(ids))):
      if END in ids[i : j + 1]:
        break
      found[word, ids[j]] += 1 / (j - i)
      found[ids[j], word] += 1 / (j - i)
  return found


@pytest.mark.parametrize("window", [1, 3, 40])
@pytest.mark.parametrize("chunk", [5, 2_000_000])
def test_counts_are_those_of_two_loops(monkeypatch, window, chunk):
  monkeypatch.setattr(cooccurrence, "_CHUNK", chunk)
  ids = np.random.default_rng(0).integers(-1, 5, 60).astype(np.int32)
  found = cooccurrence.count(ids, 5, window)
  expected = by_loops(ids.tolist(), window)
  pairs = zip(found.words.tolist(), found.contexts.tolist())
  assert dict(zip(pairs, found.counts.tolist())) == pytest.approx(dict(expected), rel=1e-6)
