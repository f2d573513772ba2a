"""Padding of sorted and unsorted sentences. Final exam of January 25, 2023, part 2, question 2."""

import itertools

import jax
import numpy as np
import pytest

from dlx.data import batches, bucketing

LENGTHS = np.array([3, 9, 1, 8, 2, 7])


def padding(lengths, size):
  """The padding symbols of batches of `size` sentences, each as long as its longest."""
  groups = np.reshape(lengths, (-1, size))
  return int((groups.max(1, keepdims=True) - groups).sum())


def test_sorting_by_length_leaves_the_least_padding():
  """Sentences of 3 and 9, 1 and 8, 2 and 7 words need 6 + 7 + 5 symbols; sorted, 1 + 4 + 1.

  No other order of the six, in batches of two or of three, needs fewer.
  """
  arrays = bucketing.sort_by_length({"lengths": LENGTHS, "ids": np.arange(6)})
  np.testing.assert_array_equal(arrays["ids"], [2, 4, 0, 5, 3, 1])  # The sentences moved, too.
  assert padding(LENGTHS, 2) == 6 + 7 + 5
  assert padding(arrays["lengths"], 2) == 1 + 4 + 1
  for size in (2, 3):
    least = min(padding(order, size) for order in itertools.permutations(LENGTHS))
    assert padding(arrays["lengths"], size) == least


@pytest.mark.full
def test_random_batches_of_sorted_sentences_keep_the_saving():
  """Training needs batches in a random order: `by_length` draws them from a few neighbours.

  Of 2,048 lengths from 1 to 200, random batches of 32 pad each sentence by nearly 94 symbols
  (the longest of 32 less the mean, 194 - 100); those of `by_length` by a seventh of it at most.
  """
  lengths = np.random.default_rng(0).integers(1, 201, size=2048)
  lengths = bucketing.sort_by_length({"lengths": lengths})["lengths"]
  random = padding(np.random.default_rng(1).permutation(lengths), 32) / 2048
  assert random == pytest.approx(194 - 100.5, abs=2)
  draw = lambda step: batches.by_length(  # noqa: E731
      jax.random.key(0), step, num_examples=2048, batch_size=32
  )
  indices = np.asarray(jax.jit(jax.vmap(draw))(np.arange(64))[0])
  assert len(np.unique(indices)) == 2048  # An epoch has every sentence once.
  assert (np.diff(lengths[indices].min(1)) < 0).any()  # Not the shortest first.
  assert padding(lengths[indices].ravel(), 32) / 2048 < random / 7
