"""Metrics of taggers: chunks as conlleval has them, known and unknown words, confusions."""

import numpy as np
import pytest

from dlx.metrics import tagging


@pytest.mark.parametrize(
    "tags, expected",
    [
        ("B-PER I-PER O B-LOC", [(0, 1, "PER"), (3, 3, "LOC")]),
        ("B-PER B-PER I-PER", [(0, 0, "PER"), (1, 2, "PER")]),
        ("I-PER I-PER O I-LOC", [(0, 1, "PER"), (3, 3, "LOC")]),  # IOB1.
        ("I-PER I-LOC I-LOC", [(0, 0, "PER"), (1, 2, "LOC")]),
        ("B-PER I-LOC", [(0, 0, "PER"), (1, 1, "LOC")]),
        ("B-A E-A S-A S-B B-B I-B E-B I-B", [(0, 1, "A"), (2, 2, "A"), (3, 3, "B"), (4, 6, "B"),
                                             (7, 7, "B")]),
        ("O O", []),
        ("", []),
    ],
)  # fmt: skip
def test_chunks_are_those_of_conlleval(tags, expected):
  assert list(tagging.chunks(tags.split())) == expected


def test_an_entity_is_right_as_a_whole_only():
  true = ["B-PER I-PER O B-LOC O B-ORG".split(), "B-LOC".split()]
  found = ["B-PER O O B-LOC O B-LOC".split(), "O".split()]
  scores = tagging.entity_scores(true, found)  # 1 right of 3 predicted and 4 true.
  assert scores == pytest.approx(
      {"entity precision": 1 / 3, "entity recall": 1 / 4, "entity F1": 2 / 7}
  )
  assert set(tagging.entity_scores([["O"]], [["O"]]).values()) == {0}


def test_only_tags_of_chunks_have_entities():
  assert tagging.is_chunked(["B-PER", "I-PER", "O"]) and not tagging.is_chunked(["O"])
  assert not tagging.is_chunked(["B-PER", "noun"])


def test_accuracies_are_of_valid_words():
  right = np.array([[True, False, True], [True, True, True]])
  valid = np.array([[True, True, True], [True, False, False]])
  seen = np.array([[True, True, False], [True, True, False]])
  found = tagging.accuracies(right, valid, seen)
  assert found == pytest.approx(
      {"unknown words": 1 / 4, "accuracy of known words": 2 / 3, "accuracy of unknown words": 1}
  )
  assert set(tagging.accuracies(right, valid, seen | True)) == {
      "unknown words", "accuracy of known words"
  }  # fmt: skip


def test_the_most_confused_classes_have_the_most_errors():
  matrix = np.array([[9, 0, 0, 2], [0, 5, 1, 0], [0, 0, 7, 0], [0, 0, 0, 3]])
  assert tagging.most_confused(matrix, 2).tolist() == [0, 3]
  assert tagging.most_confused(matrix, 9).tolist() == [0, 1, 2, 3]
  assert tagging.most_confused(np.eye(3, dtype=int), 9).tolist() == []
  lines = tagging.describe_confusions(matrix, "abcd").splitlines()
  assert [line.split() for line in lines[1:]] == [["2", "a", "->", "d"], ["1", "b", "->", "c"]]
