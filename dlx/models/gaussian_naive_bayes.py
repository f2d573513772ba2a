"""Gaussian naive Bayes with a variance for each feature that all classes share: a linear model.

  p(x | c) = prod_j N(x_j; m_cj, s_j^2)
  log p(c | x) = log p(c) + sum_j x_j m_cj / s_j^2 - m_cj^2 / (2 s_j^2) + a constant of x

With variances of each class the boundaries would be quadrics. It is linear discriminant analysis
with a diagonal covariance.

Source: Hastie, Tibshirani, Friedman, "The elements of statistical learning" (2009),
  sections 4.3 and 6.6.3.
"""

from jaxtyping import Float, Int
import numpy as np

from dlx.errors import UserError


def fit(
    x: Float[np.ndarray, "N D"],
    labels: Int[np.ndarray, "N"],
    num_classes: int,
    *,
    smoothing: float = 1e-9,
) -> dict[str, np.ndarray]:
  """Params of dlx.layers.linear, `kernel` (D, K) and `bias` (K,), whose scores are log p(x, c).

  They lack the terms that are equal for all classes. s_j^2 is the mean squared distance of x_j
  from the mean of its class.

  Args:
    x: the inputs.
    labels: classes 0 to K - 1.
    num_classes: K.
    smoothing: added to all variances, times the largest: a feature may be constant in each class.

  Raises:
    UserError: a class has no example, or no feature varies within a class.
  """
  x = np.asarray(x, np.float64)
  counts = np.bincount(labels, minlength=num_classes)
  if not counts.all():
    raise UserError(f"naive Bayes: class {int(np.argmin(counts))} has no training example")
  means = np.stack([x[labels == c].mean(0) for c in range(num_classes)])
  variance = sum(((x[labels == c] - means[c]) ** 2).sum(0) for c in range(num_classes)) / len(x)
  if not variance.any():
    raise UserError("naive Bayes: no feature varies within a class; give more training examples")
  variance += smoothing * variance.max()
  kernel = (means / variance).T
  bias = np.log(counts / len(x)) - (means**2 / variance).sum(1) / 2
  return {"kernel": kernel, "bias": bias}
