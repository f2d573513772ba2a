"""Linear autoregression: ridge regression of the next value on a window of past values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PENALTIES = tuple(10.0**k for k in range(-12, 3))  # Per example.


class Ridge(NamedTuple):
  """A linear map y = x w + b.

  Attributes:
    weights: w (W,).
    bias: b.
    penalty: the one it was fitted with.
  """

  weights: np.ndarray
  bias: float
  penalty: float

  def __call__(self, inputs: np.ndarray) -> np.ndarray:
    """y (N,) of inputs (N, W)."""
    return np.asarray(inputs, np.float64) @ self.weights + self.bias


def fit(inputs: np.ndarray, targets: np.ndarray, penalties: Sequence[float]) -> list[Ridge]:
  """Ridge regression in closed form, once for each penalty.

    w = argmin |y - X w - b|^2 / N + r |w|^2 = (X^T X + N r I)^-1 X^T y,   b = mean(y) - mean(x) w

  with X and y centered in the second expression. It is computed from X = U S V^T as
  V (S / (S^2 + N r)) U^T y: neighbouring values of a smooth series are almost equal, and X^T X
  would square the condition number of X.

  Args:
    inputs: X (N, W).
    targets: y (N,).
    penalties: r > 0.

  Source: Hoerl and Kennard, "Ridge regression: biased estimation for nonorthogonal problems"
    (1970).
  """
  x, y = np.asarray(inputs, np.float64), np.asarray(targets, np.float64)
  x_mean, y_mean = x.mean(0), y.mean()
  u, s, vt = np.linalg.svd(x - x_mean, full_matrices=False)
  projected = u.T @ (y - y_mean)
  found = []
  for penalty in penalties:
    weights = vt.T @ (s / (s**2 + len(x) * penalty) * projected)
    found.append(Ridge(weights, float(y_mean - x_mean @ weights), penalty))
  return found


def select(
    train: tuple[np.ndarray, np.ndarray],
    validation: tuple[np.ndarray, np.ndarray],
    penalties: Sequence[float] = PENALTIES,
) -> Ridge:
  """Fits `train` with each penalty; the one with the least squared error on `validation`.

  Args:
    train, validation: (inputs (N, W), targets (N,)).
    penalties: as for `fit`.
  """
  inputs, targets = validation
  return min(fit(*train, penalties), key=lambda model: np.mean((model(inputs) - targets) ** 2))
