"""N-grams drawn of documents: how often each, and of no other document."""

import jax
import numpy as np
import pytest

from dlx.data import document_ngrams

# Document 1 has no n-gram, 2 only one that is left out.
ROWS = np.array([0, 0, 0, 2, 3, 3])
COLUMNS = np.array([1, 4, 5, 2, 4, 0])
WEIGHTS = np.float32([1.0, 0.5, 0.0, 9.0, 0.25, 0.05])


@pytest.mark.parametrize("compile_", [lambda f, **k: f, jax.jit], ids=["eager", "jit"])
def test_ngrams_are_drawn_in_proportion_to_their_weights(compile_):
  corpus = document_ngrams.corpus(ROWS, COLUMNS, WEIGHTS[COLUMNS], 4)
  assert len(corpus["ngrams"]) == 5
  draw = compile_(document_ngrams.draw, static_argnames="count")
  documents, count = np.array([3, 0, 1, 2]), 20_000
  found = np.asarray(draw(jax.random.key(0), corpus, documents, count=count))
  for document, row in zip(documents, found):
    expected = np.zeros(len(WEIGHTS))
    own = COLUMNS[ROWS == document]
    expected[own] = WEIGHTS[own]
    if not expected.any():
      assert (row == -1).all()
      continue
    shares = np.bincount(row, minlength=len(WEIGHTS)) / count
    np.testing.assert_allclose(shares, expected / expected.sum(), atol=0.015)  # 4 deviations.
    assert (shares[expected == 0] == 0).all()


def test_sums_of_a_document_do_not_lose_precision_behind_many_others():
  rows = np.repeat(np.arange(200_000), 2)
  weights = np.tile(np.float32([1e-3, 1e3]), 200_000)
  corpus = document_ngrams.corpus(rows, np.tile([0, 1], 200_000), weights, 200_000)
  np.testing.assert_allclose(corpus["sums"][-2:], [1e-3, 1e3 + 1e-3], rtol=1e-4)
