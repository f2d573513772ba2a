"""Linear autoregression: ridge regression of the next value on a window of past values."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from dlx.models import ridge

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
  """`ridge.fit` of windows, once for each penalty.

  Args:
    inputs: X (N, W). Neighbouring values of a smooth series are almost equal.
    targets: y (N,).
    penalties: r.
  """
  found = ridge.fit(inputs, targets, penalties)
  return [
      Ridge(params["kernel"][:, 0], float(params["bias"][0]), penalty)
      for params, penalty in zip(found, penalties)
  ]


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
