"""Ridge regression against normal equations, least squares, and a search by hand."""

import numpy as np
import pytest

from dlx.models import autoregression


@pytest.fixture
def examples():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) + 3
  return x, x @ [1.0, -2, 0, 0.5] + 7 + rng.normal(size=30)


@pytest.mark.parametrize("penalty", [1e-12, 1e-3, 0.5, 100.0])
def test_ridge_solves_the_normal_equations_and_the_augmented_least_squares(examples, penalty):
  x, y = examples
  (found,) = autoregression.fit(x, y, [penalty])
  # The intercept as a column without a penalty.
  columns = np.c_[x, np.ones(len(x))]
  penalties = np.diag([len(x) * penalty] * 4 + [0.0])
  normal = np.linalg.solve(columns.T @ columns + penalties, columns.T @ y)
  augmented, *_ = np.linalg.lstsq(
      np.r_[columns, np.sqrt(penalties)], np.r_[y, np.zeros(5)], rcond=None
  )
  for expected in (normal, augmented):
    np.testing.assert_allclose([*found.weights, found.bias], expected, rtol=1e-8, atol=1e-8)
  np.testing.assert_allclose(found(x), columns @ normal, rtol=1e-8)
  assert found.penalty == penalty


def test_columns_that_are_equal_share_their_weight(examples):
  x, y = examples
  (one,) = autoregression.fit(x[:, :1], y, [0.1])
  (two,) = autoregression.fit(x[:, [0, 0]], y, [0.2])
  np.testing.assert_allclose(two.weights, [one.weights[0] / 2] * 2)


def test_the_penalty_is_the_best_one_on_validation(examples):
  x, y = examples
  train, validation = (x[:8], y[:8]), (x[8:], y[8:])
  errors = {}
  for penalty in autoregression.PENALTIES:
    (model,) = autoregression.fit(*train, [penalty])
    errors[penalty] = sum((model(row) - target) ** 2 for row, target in zip(*validation))
  best = min(errors, key=errors.get)
  assert autoregression.select(train, validation).penalty == best
  assert 1e-12 < best < 100, "neither end of the range"


def test_a_linear_recurrence_is_found_exactly():
  values = np.sin(0.3 * np.arange(60))  # x_{t+1} = 2 cos(0.3) x_t - x_{t-1}.
  windows = np.lib.stride_tricks.sliding_window_view(values, 2)[:-1]
  (found,) = autoregression.fit(windows, values[2:], [1e-15])
  np.testing.assert_allclose(found.weights, [-1, 2 * np.cos(0.3)], rtol=1e-9)
