"""Figures of a classifier, on tables small enough to count by hand."""

import numpy as np
import pytest

from dlx.metrics import classification

# Four examples, three classes: right with 0.8, wrong with 0.6, right with 0.5, wrong with 0.9.
PROBABILITIES = np.array([
    [0.8, 0.1, 0.1],
    [0.2, 0.6, 0.2],
    [0.2, 0.3, 0.5],
    [0.05, 0.9, 0.05],
])  # fmt: skip
LABELS = np.array([0, 0, 2, 2])


def test_accuracy_and_the_confusion_matrix_count():
  assert classification.accuracy(PROBABILITIES, LABELS) == 0.5
  np.testing.assert_array_equal(
      classification.confusion_matrix(PROBABILITIES, LABELS), [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
  )


def test_the_calibration_error_by_hand():
  # Two bins: (0, 0.5] has accuracy 1 and confidence 0.5; (0.5, 1] has 1/3 and 2.3/3.
  expected = (1 * abs(1 - 0.5) + 3 * abs(1 / 3 - 2.3 / 3)) / 4
  found = classification.calibration_error(PROBABILITIES, LABELS, bins=2)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_calibrated_classifier_has_a_small_error_and_a_boastful_one_has_not():
  rng = np.random.default_rng(0)
  p = rng.uniform(0.5, 1, 20_000)
  labels = (rng.random(20_000) > p).astype(int)
  honest = np.stack([p, 1 - p], -1)
  assert classification.calibration_error(honest, labels) < 0.02
  boastful = np.stack([np.ones(20_000), np.zeros(20_000)], -1)
  error = classification.calibration_error(boastful, labels)
  np.testing.assert_allclose(error, labels.mean(), rtol=1e-12)


def test_mistakes_come_with_the_surest_first():
  found = classification.most_confident_mistakes(PROBABILITIES, LABELS, 5)
  np.testing.assert_array_equal(found, [3, 1])
  np.testing.assert_array_equal(
      classification.most_confident_mistakes(PROBABILITIES, LABELS, 1), [3]
  )


def test_f1_is_the_mean_of_its_classes_by_hand():
  matrix = np.array([[6, 2], [1, 1]])
  assert classification.f1(matrix) == pytest.approx((12 / 15 + 2 / 5) / 2)
  assert classification.f1(np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])) == pytest.approx(2 / 3)
