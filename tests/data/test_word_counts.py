"""Words of documents: their split, the vocabulary, ids, subsampling."""

import numpy as np
import pytest

from dlx.data import word_counts
from dlx.errors import UserError


@pytest.mark.parametrize(
    "options, expected",
    [
        ((True, False), ["don't", "stop", "2", "naïve", "o’clock", "é"]),
        ((False, False), ["Don't", "STOP", "2", "naïve", "o’clock", "É"]),
        ((True, True), ["'don't", "stop!", "2", "naïve", "o’clock,", "é"]),
    ],
)
def test_words_without_markup_punctuation_and_case(options, expected):
  lowercase, punctuation = options
  text = "'Don't<br /><br>STOP! 2\nnaïve o’clock, É"
  assert word_counts.split(text, lowercase=lowercase, punctuation=punctuation) == expected


def test_the_vocabulary_has_the_most_frequent_words_in_order():
  documents = [["b", "a", "b", "c"], ["a", "d", "d", "d"]]
  found = word_counts.count(documents, min_count=2)
  assert found.words == ["d", "a", "b"] and found.counts.tolist() == [3, 2, 2]
  assert word_counts.count(documents, min_count=1, max_words=2).words == ["d", "a"]
  with pytest.raises(UserError, match="1 occur at least 3 times; expected at least two"):
    word_counts.count(documents, min_count=3)


def test_rare_words_are_left_out_and_documents_end():
  ids = word_counts.encode([["a", "x", "b"], ["b"], []], ["a", "b"])
  assert ids.tolist() == [0, 1, word_counts.END, 1, word_counts.END, word_counts.END]
  assert ids.dtype == np.int32


def test_subsampling_keeps_rare_words_and_follows_the_formula():
  counts = np.array([900, 90, 9, 1])
  found = word_counts.keep_probabilities(counts, 0.01)
  np.testing.assert_allclose(found[:2], [(0.01 / 0.9) ** 0.5 + 0.01 / 0.9, 1 / 3 + 1 / 9], 1e-6)
  assert found[2:].tolist() == [1, 1]
  assert word_counts.keep_probabilities(counts, None).tolist() == [1] * 4
