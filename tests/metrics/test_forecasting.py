"""The normalized error by hand."""

import math

import numpy as np
import pytest

from dlx.metrics.forecasting import normalized_rmse


def test_the_normalized_error_by_hand():
  # Errors 1, 0, -2, 1: mean square 6 / 4. Targets 1, 3, 5, 7: variance (9 + 1 + 1 + 9) / 4 = 5.
  found = normalized_rmse(np.array([2, 3, 3, 8]), np.array([1, 3, 5, 7]))
  assert found == pytest.approx(math.sqrt(1.5 / 5))


def test_the_mean_has_error_1_in_any_unit():
  targets = np.float32([2, 4, 9])
  assert normalized_rmse(np.full(3, 5), targets) == pytest.approx(1)
  assert normalized_rmse(targets, targets) == 0
  forecasts = np.array([2.5, 3, 8])
  in_another_unit = normalized_rmse(10 * forecasts - 4, 10 * targets - 4)
  assert in_another_unit == pytest.approx(normalized_rmse(forecasts, targets))
