"""The quality of codes: principal components, principal angles, and linear classifiers."""

from collections.abc import Sequence

import numpy as np


def principal_components(x: np.ndarray, count: int) -> np.ndarray:
  """The `count` orthonormal directions of largest variance, (D, count), the largest first.

  Args:
    x: `(N, D)`, with mean zero.
    count: at most D.

  Source: Pearson, "On lines and planes of closest fit to systems of points in space" (1901).
  """
  covariance = (x.T @ x).astype(np.float64) / len(x)
  _, vectors = np.linalg.eigh(covariance)
  return vectors[:, ::-1][:, :count].astype(x.dtype)


def principal_angles(a: np.ndarray, b: np.ndarray) -> np.ndarray:
  """The angles between the column spaces of two matrices, in degrees, the largest first.

  Angles below 45 degrees are computed from their sines, since the cosine of a small angle
  rounds to 1:

    cos t = singular values of Qa^T Qb,   sin t = singular values of Qb - Qa Qa^T Qb

  Args:
    a, b: `(D, k)`, of full column rank, k <= D.

  Source: Bjorck and Golub, "Numerical methods for computing angles between linear subspaces"
    (1973).
  """
  qa, qb = (np.linalg.qr(np.asarray(m, np.float64))[0] for m in (a, b))
  cosines = np.linalg.svd(qa.T @ qb, compute_uv=False)[::-1].clip(0, 1)
  sines = np.linalg.svd(qb - qa @ (qa.T @ qb), compute_uv=False).clip(0, 1)
  return np.degrees(np.where(sines < np.sqrt(0.5), np.arcsin(sines), np.arccos(cosines)))


def probe_accuracy(
    train: np.ndarray,
    train_labels: np.ndarray,
    test: np.ndarray,
    test_labels: np.ndarray,
    *,
    ridge: float = 1e-4,
) -> float:
  """The accuracy of a linear classifier fitted to one split's codes, on another split.

  Ridge regression of the one-hot labels Y on the codes Z in closed form; the prediction is the
  largest output:

    W = (Z^T Z / N + r v I)^-1 Z^T Y / N,   v the mean variance of a code's entries

  with Z and Y centered by the means of the training split. Scaling the codes changes nothing.

  Args:
    train, test: codes, (N, k) and (M, k).
    train_labels, test_labels: classes, (N,) and (M,).
    ridge: r.

  Source: Alain and Bengio, "Understanding intermediate layers using linear classifier probes"
    (2016), for the use of a linear classifier.
  """
  mean = train.mean(0, dtype=np.float64)
  z = train - mean
  y = np.eye(train_labels.max() + 1)[train_labels]
  gram, size = z.T @ z / len(z), z.shape[1]
  penalty = max(ridge * gram.trace() / size, 1e-12) * np.eye(size)
  w = np.linalg.solve(gram + penalty, z.T @ (y - y.mean(0)) / len(z))
  return float((((test - mean) @ w + y.mean(0)).argmax(-1) == test_labels).mean())


def compare_with_pca(
    codes: Sequence[np.ndarray],
    inputs: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    basis: np.ndarray | None = None,
) -> dict[str, float]:
  """Linear classifiers on codes, on as many principal components, and on the inputs.

  Args:
    codes: of the training examples, (N, k), and of the evaluated ones, (M, k).
    inputs: both examples' inputs, (N, D) and (M, D), less the mean of the training examples.
    labels: both examples' classes, (N,) and (M,).
    basis: (D, k), of a linear code's subspace.

  Returns:
    The accuracies; "PCA error", the mean squared distance of the evaluated inputs from their
    projections on min(k, D) components of the training examples, summed over D; and, with a
    basis, "angle to PCA", the largest angle between its columns' space and the components', in
    degrees.
  """
  count = min(codes[0].shape[1], inputs[0].shape[1])
  components = principal_components(inputs[0], count)
  projected = [x @ components for x in inputs]

  def accuracy(train, test):
    return probe_accuracy(train, labels[0], test, labels[1])

  residual = inputs[1] - projected[1] @ components.T
  found = {
      "PCA error": float(np.square(residual).sum(-1).mean()),
      "probe accuracy": accuracy(*codes),
      "PCA probe accuracy": accuracy(*projected),
      "input probe accuracy": accuracy(*inputs),
  }
  if basis is not None:
    found["angle to PCA"] = float(principal_angles(basis, components)[0])
  return found
