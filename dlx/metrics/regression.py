"""Errors of regression, of predictions y' of targets y."""

import numpy as np


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
  """The root mean square error sqrt(mean (y' - y)^2) of arrays (N,)."""
  difference = np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)
  return float(np.sqrt(np.mean(difference**2)))


def r_squared(predictions: np.ndarray, targets: np.ndarray) -> float:
  """The fraction of the variance that is explained, 1 - sum (y' - y)^2 / sum (y - mean y)^2.

  1 for exact predictions, 0 for the mean, below 0 for worse; nan if all targets are equal.

  Args:
    predictions, targets: (N,).
  """
  variance = np.asarray(targets, np.float64).var()
  return float(1 - rmse(predictions, targets) ** 2 / variance) if variance else float("nan")
