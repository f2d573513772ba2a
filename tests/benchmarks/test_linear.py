"""The benchmark of logistic regression: both libraries minimize what it judges them by."""

import numpy as np
import pytest

from benchmarks import linear, linear_texts
from experiments.ngram_classifier.config import get_config


def examples():
  rng = np.random.default_rng(0)
  labels = np.arange(90) % 3
  inputs = np.float32(rng.normal(size=(90, 4)) + np.eye(3, 4)[labels])
  return {"inputs": inputs, "labels": labels}


def test_its_objective_is_the_least_where_dlx_ends():
  train = examples()
  kernel, bias, steps = linear.fit_dlx(train, 3, 0.01)
  least = linear.judge((kernel, bias, steps), train, train, 0.01)["objective"]
  p = np.exp(train["inputs"] @ kernel + bias)
  p /= p.sum(1, keepdims=True)
  expected = -np.log(p[np.arange(90), train["labels"]]).mean() + 0.005 * (kernel**2).sum()
  assert least == pytest.approx(expected, rel=1e-5) and steps > 1
  rng = np.random.default_rng(1)
  for _ in range(20):
    moved = kernel + 0.01 * rng.normal(size=kernel.shape), bias + 0.01 * rng.normal(size=3), 1
    assert linear.judge(moved, train, train, 0.01)["objective"] > least


def test_a_row_for_each_library_that_is_installed():
  train = examples()
  rows = linear.measure(train, train, 3, l2=0.01, tolerance=1e-8, rounds=1)
  assert rows[0]["library"] == "dlx" and rows[0]["seconds"] > 0
  assert len(rows) == 1 + (linear.sklearn is not None)
  for row in rows:
    assert row["objective"] == pytest.approx(rows[0]["objective"], rel=1e-5)
    assert set(linear.COLUMNS) <= set(row)


@pytest.mark.full
def test_the_fits_of_texts_end_at_one_objective():
  train, test = linear_texts.problem(get_config("debug"))
  inputs = linear_texts.scaled(train["matrix"], train["scale"])
  signs = train["signs"]
  fits = {
      "dlx": lambda: linear_texts.fit_dlx(train, 1e-2),
      "scikit-learn": lambda: linear_texts.fit_sklearn(inputs, signs, 1e-2, 1e-8),
  }
  judge = lambda found: linear_texts.judge(found, inputs, signs, test, 1e-2)  # noqa: E731
  rows = linear.compare(fits, judge, 1)
  assert len(rows) == 1 + (linear.sklearn is not None) and rows[0]["test_accuracy"] > 0.8
  for row in rows:
    assert row["objective"] == pytest.approx(rows[0]["objective"], rel=1e-5)
