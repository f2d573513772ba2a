"""How good the probabilities of a classifier are: plain numpy, after the run."""

import numpy as np


def accuracy(probabilities: np.ndarray, labels: np.ndarray) -> float:
  """The share of examples whose likeliest class is the right one."""
  return float((probabilities.argmax(-1) == labels).mean())


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Counts (K, K): row the right class, column the likeliest one.

  Args:
    probabilities: `(N, K)`.
    labels: `(N,)`, classes 0 to K - 1.
  """
  classes = probabilities.shape[-1]
  places = labels * classes + probabilities.argmax(-1)
  return np.bincount(places, minlength=classes**2).reshape(classes, classes)


def f1(matrix: np.ndarray) -> float:
  """The mean over classes of F1, the harmonic mean of precision and recall.

  F1 = 2 right / (right + wrong of that class + wrong as that class), 0 for a class that
  neither occurs nor is found.

  Args:
    matrix: counts (K, K), row the right class, column the likeliest one.

  Source: van Rijsbergen, "Information retrieval" (1979), chapter 7.
  """
  right = matrix.diagonal()
  total = matrix.sum(0) + matrix.sum(1)
  return float((2 * right / np.maximum(total, 1)).mean())


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
  """Expected calibration error: how far confidence and accuracy are apart.

  sum_b (n_b / N) |accuracy_b - confidence_b| over bins of equal width of the confidence,
  the largest probability; bin b holds b / bins < confidence <= (b + 1) / bins.

  Args:
    probabilities: `(N, K)`.
    labels: `(N,)`.
    bins: how many.

  Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017),
    equation 3.
  """
  confidence = probabilities.max(-1).astype(np.float64)
  right = probabilities.argmax(-1) == labels
  bin_ = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
  # n_b (accuracy_b - confidence_b) is a plain sum over the bin.
  gaps = np.bincount(bin_, weights=right - confidence, minlength=bins)
  return float(np.abs(gaps).sum() / len(labels))


def most_confident_mistakes(
    probabilities: np.ndarray, labels: np.ndarray, count: int
) -> np.ndarray:
  """The places of at most `count` wrongly classified examples, the surest first."""
  wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
  return wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:count]
