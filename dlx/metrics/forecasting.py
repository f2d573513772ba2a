"""Errors of forecasts."""

import numpy as np

from dlx.metrics.regression import rmse


def normalized_rmse(forecasts: np.ndarray, targets: np.ndarray) -> float:
  """The root mean square error in standard deviations of the targets.

    NRMSE = sqrt(mean (y' - y)^2) / sqrt(mean (y - mean y)^2)

  It is 1 for the targets' mean as forecast of each of them, and 0 for exact forecasts.

  Args:
    forecasts: y' (N,).
    targets: y (N,), not all equal.
  """
  return rmse(forecasts, targets) / float(np.asarray(targets, np.float64).std())
