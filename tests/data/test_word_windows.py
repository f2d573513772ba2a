"""Neighbours, subsampling and noise words drawn on the device."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import word_windows
from dlx.data.word_counts import END

KEEP_ALL = np.ones(50)


def expected_pairs(ids, window, kept):
  """By counting the words between two positions; None where r decides."""
  size = len(ids)
  found = np.zeros((size, size))
  for i in range(size):
    for j in range(size):
      low, high = sorted((i, j))
      between = ids[low:high]
      if i == j or END in between or not (kept[i] and kept[j]) or END in (ids[i], ids[j]):
        continue
      distance = sum(kept[low:high])
      found[i, j] = max(0, (window + 1 - distance) / window)  # P(r >= distance).
  return found


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_pairs_are_near_in_one_document_with_the_probability_of_their_distance(compile_):
  ids = np.array([3, 1, 4, 1, 5, END, 9, 2, 6, 5, END, END])
  rows = jnp.asarray(np.tile(ids, (4000, 1)))
  draw = compile_(lambda rng, x: word_windows.draw(rng, x, KEEP_ALL, 3))
  drawn = draw(jax.random.key(0), rows)
  expected = expected_pairs(ids, 3, ids != END)
  found = np.asarray(drawn.pairs).mean(0)
  np.testing.assert_allclose(found, expected, atol=0.04)
  assert not found[expected == 0].any() and (found[expected == 1] == 1).all()
  assert drawn.words[0].tolist() == [3, 1, 4, 1, 5, 0, 9, 2, 6, 5, 0, 0]


def test_words_around_one_that_is_left_out_become_neighbours():
  keep = np.ones(10)
  keep[7] = 0
  ids = np.array([1, 7, 2, 7, 7, 3])
  pairs = word_windows.draw(jax.random.key(0), jnp.asarray(ids[None]), keep, 1).pairs[0]
  assert np.argwhere(pairs).tolist() == [[0, 2], [2, 0], [2, 5], [5, 2]]


def test_words_are_kept_with_their_probability():
  keep = np.array([0.25, 1.0])
  ids = jnp.asarray(np.tile([0, 1], (4000, 2)))
  pairs = word_windows.draw(jax.random.key(1), ids, keep, 1).pairs
  both = np.asarray(pairs[:, 1, 3]).mean()  # Neighbours when the 0 between them is left out.
  assert both == pytest.approx(0.75, abs=0.03)


@pytest.mark.parametrize("weights", [[1.0, 2.0, 3.0, 10.0], [5.0], [1e-9, 1.0], [1.0] * 7])
def test_alias_tables_draw_the_distribution(weights):
  table = word_windows.alias_table(np.array(weights))
  chance = table.thresholds / 2**32
  found = np.zeros(len(weights))
  np.add.at(found, np.arange(len(weights)), chance / len(weights))
  np.add.at(found, table.others, (1 - chance) / len(weights))
  np.testing.assert_allclose(found, np.array(weights) / np.sum(weights), atol=1e-8)
  drawn = word_windows.draw(
      jax.random.key(2), jnp.zeros((400, 2), jnp.int32), KEEP_ALL, 1, table, 50
  ).noise
  shares = np.bincount(np.asarray(drawn).ravel(), minlength=len(weights)) / drawn.size
  np.testing.assert_allclose(shares, np.array(weights) / np.sum(weights), atol=0.015)
