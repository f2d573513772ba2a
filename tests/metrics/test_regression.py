"""Errors of regression by hand."""

import math

import numpy as np
import pytest

from dlx.metrics import regression


def test_errors_by_hand():
  y, found = np.array([1.0, 2, 6]), np.array([1.0, 4, 4])
  assert regression.rmse(found, y) == pytest.approx(math.sqrt(8 / 3))
  assert regression.r_squared(found, y) == pytest.approx(1 - 8 / 14)  # 4 + 1 + 9 around 3.
  assert regression.r_squared(y, y) == 1
  assert regression.r_squared(np.full(3, 3.0), y) == pytest.approx(0, abs=1e-12)
  assert regression.r_squared(-y, y) < 0 and math.isnan(regression.r_squared(y, np.ones(3)))


def test_small_floats_are_summed_in_double_precision():
  y = np.float32([1e4, 1e4 + 1])
  assert regression.rmse(y + np.float32(0.5), y) == 0.5
