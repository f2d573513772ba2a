"""Metrics of a classifier on examples that are counted by hand."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.experiment import Data
from dlx.metrics import classification
from dlx.training import sharding
from dlx.training.evaluation import make_apply

# Four examples, three classes: right with 0.8, wrong with 0.6, right with 0.5, wrong with 0.9.
PROBABILITIES = np.array([
    [0.8, 0.1, 0.1],
    [0.2, 0.6, 0.2],
    [0.2, 0.3, 0.5],
    [0.05, 0.9, 0.05],
])  # fmt: skip
LABELS = np.array([0, 0, 2, 2])


def test_the_confusion_matrix_equals_counts():
  np.testing.assert_array_equal(
      classification.confusion_matrix(PROBABILITIES, LABELS), [[1, 1, 0], [0, 0, 0], [0, 1, 1]]
  )


def test_the_calibration_error_equals_the_sum_over_bins():
  # Two bins: (0, 0.5] has accuracy 1 and confidence 0.5; (0.5, 1] has 1/3 and 2.3/3.
  expected = (1 * abs(1 - 0.5) + 3 * abs(1 / 3 - 2.3 / 3)) / 4
  found = classification.calibration_error(PROBABILITIES, LABELS, bins=2)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_only_an_overconfident_classifier_has_a_large_calibration_error():
  rng = np.random.default_rng(0)
  p = rng.uniform(0.5, 1, 20_000)
  labels = (rng.random(20_000) > p).astype(int)
  calibrated = np.stack([p, 1 - p], -1)
  assert classification.calibration_error(calibrated, labels) < 0.02
  overconfident = np.stack([np.ones(20_000), np.zeros(20_000)], -1)
  error = classification.calibration_error(overconfident, labels)
  np.testing.assert_allclose(error, labels.mean(), rtol=1e-12)


def test_errors_are_sorted_by_confidence():
  found = classification.most_confident_errors(PROBABILITIES, LABELS, 5)
  np.testing.assert_array_equal(found, [3, 1])
  found = classification.most_confident_errors(PROBABILITIES, LABELS, 1)
  np.testing.assert_array_equal(found, [3])


def test_f1_is_the_mean_over_classes():
  matrix = np.array([[6, 2], [1, 1]])
  assert classification.f1(matrix) == pytest.approx((12 / 15 + 2 / 5) / 2)


def test_f1_leaves_out_a_class_that_neither_occurs_nor_is_predicted():
  """A perfect classifier has F1 = 1 whatever classes are missing; a wrong prediction counts."""
  assert classification.f1(np.array([[3, 0, 0], [0, 2, 0], [0, 0, 0]])) == 1
  assert classification.f1(np.array([[0, 0, 0], [0, 2, 0], [0, 0, 0]])) == 1
  predicted = np.array([[3, 0, 1], [0, 2, 0], [0, 0, 0]])  # The third once, never right.
  assert classification.f1(predicted) == pytest.approx((6 / 7 + 1 + 0) / 3, rel=1e-12)
  missed = np.array([[3, 0, 0], [0, 2, 0], [1, 0, 0]])  # It occurs once, and is not found.
  assert classification.f1(missed) == pytest.approx((6 / 7 + 1 + 0) / 3, rel=1e-12)
  assert np.isnan(classification.f1(np.zeros((2, 2), int)))


CLASSES = ("cat", "dog", "fox")


def logits_fn(variables, batch):
  return variables["scale"] * batch["logits"]


@pytest.fixture
def apply():
  return make_apply({"scale": 1.0}, sharding.make_mesh(), chunk=3)


def test_errors_are_described_in_words():
  documents = ["a fine film", "so dull " * 30, "good", "bad"]
  first, second = classification.describe_errors(
      documents, LABELS, PROBABILITIES, CLASSES
  ).split("\n\n")  # fmt: skip
  assert first == "predicted dog (90.0%), true fox:\nbad"
  head, *lines = second.splitlines()
  assert head == "predicted dog (60.0%), true cat:"
  assert len(lines) > 1 and max(map(len, lines)) <= 98
  assert " ".join(lines) == documents[1].strip()


def test_top_k_is_sorted():
  assert classification.top_k(PROBABILITIES[2], CLASSES, 2) == [("fox", 0.5), ("dog", 0.3)]


def test_eval_fn_has_a_loss_and_an_accuracy_per_example(x64):
  batch = {"logits": jnp.log(PROBABILITIES), "labels": jnp.asarray(LABELS)}
  metrics = classification.make_eval(logits_fn)({"scale": 1.0}, batch, jax.random.key(0))
  np.testing.assert_allclose(metrics["loss"], -np.log([0.8, 0.2, 0.5, 0.05]), rtol=1e-12)
  np.testing.assert_array_equal(metrics["accuracy"], [True, False, True, False])


def test_measure_fn_equals_the_functions_of_probabilities(apply):
  split = {"logits": np.log(PROBABILITIES).astype(np.float32), "labels": LABELS}
  measure = classification.make_measure(classification.make_eval(logits_fn), CLASSES)
  metrics = measure({"scale": 1.0}, Data(test=split), "test", apply)
  matrix = classification.confusion_matrix(PROBABILITIES, LABELS)
  expected = {
      "F1": classification.f1(matrix),
      "calibration error": classification.calibration_error(PROBABILITIES, LABELS),
      "accuracy of cat": 0.5, "accuracy of fox": 0.5,  # No example is a dog.
  }  # fmt: skip
  assert metrics == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("missing, names", [
    ([1], "1 of 3 classes: dog"),
    ([0, 2], "2 of 3 classes: cat, fox"),
    ([], None),
])  # fmt: skip
def test_classes_without_a_training_example_are_named_once(apply, missing, names):
  split = {"logits": np.log(PROBABILITIES).astype(np.float32), "labels": LABELS}
  labels = np.array([k for k in (2, 1, 0, 1, 2, 0) if k not in missing])
  data = Data(train={"labels": labels}, validation=split, test=split)
  measure = classification.make_measure(classification.make_eval(logits_fn), CLASSES)
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("default")
    for name in ("validation", "test", "validation"):
      measure({"scale": 1.0}, data, name, apply)
  expected = [f"the training examples have none of {names}"] if names else []
  assert [str(w.message) for w in caught] == expected


def test_many_missing_classes_are_one_short_line(apply):
  logits = np.zeros((4, 1000), np.float32)
  classes = [f"class {i}" for i in range(1000)]
  data = Data(train={"labels": LABELS}, test={"logits": logits, "labels": LABELS})
  with pytest.warns(UserWarning) as caught:
    eval_fn = classification.make_eval(logits_fn)
    classification.make_measure(eval_fn, classes)({"scale": 1.0}, data, "test", apply)
  (line,) = (str(w.message) for w in caught)
  assert "998 of 1000 classes: class 1, class 3, class 4, class 5, class 6, ..." in line


def test_predict_answers_each_line_with_its_most_probable_classes(apply):
  read = lambda lines: {"logits": np.log(PROBABILITIES[[int(line) for line in lines]])}  # noqa: E731
  predict = classification.make_predict(logits_fn, CLASSES, read)
  assert predict({"scale": 1.0}, ["3", "0"], apply, top=2) == [
      "3: dog 90.0%, cat 5.0%", "0: cat 80.0%, dog 10.0%",
  ]  # fmt: skip
