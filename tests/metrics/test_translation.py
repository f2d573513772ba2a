"""Error rates and the measures of translations."""

import itertools
import sys

import numpy as np
import pytest

from dlx.experiment import Data
from dlx.metrics import edit_distance, translation


def by_recursion(a, b):
  """The edit distance by its definition: the best last operation."""
  if not a or not b:
    return len(a) + len(b)
  last = by_recursion(a[:-1], b[:-1]) + (a[-1] != b[-1])
  return min(last, by_recursion(a[:-1], b) + 1, by_recursion(a, b[:-1]) + 1)


def test_the_edit_distance_is_that_of_the_recursion():
  words = ["", "a", "ab", "ba", "aab", "abab", "bbb"]
  for a, b in itertools.product(words, repeat=2):
    assert edit_distance.distance(a, b) == by_recursion(a, b)
  assert edit_distance.distance("kitten", "sitting") == 3
  assert edit_distance.distance(["to", "be"], ["be"]) == 1


def test_errors_are_counted_against_the_nearest_reference():
  references = [["abcd", "abx"], ["q"]]
  assert edit_distance.error_rate(["abc", "q"], references) == 1 / 5  # Equally near: the first.
  assert edit_distance.error_rate(["abx", ""], references) == 1 / 4
  assert edit_distance.exact_match(["abx", ""], references) == 0.5
  assert np.isnan(edit_distance.error_rate([""], [[""]]))


def test_a_source_with_two_references_counts_once_and_any_is_right(monkeypatch):
  monkeypatch.setitem(sys.modules, "sacrebleu", None)
  texts = {"source_text": ["x", "y", "x"], "target_text": ["a b", "c", "a"]}
  examples = {name: np.array(values, object) for name, values in texts.items()}
  asked = []

  def translate(variables, examples, apply):
    asked.extend(examples["source_text"])
    return [{"x": "a", "y": "d d"}[source] for source in examples["source_text"]]

  measure = translation.make_measure({"greedy": translate}, str.split, with_bleu=True)
  found = measure(None, Data(test=examples), "test", None)
  assert asked == ["x", "y"]
  assert found == {"exact match, greedy": 0.5, "symbol error rate, greedy": pytest.approx(2 / 2)}
