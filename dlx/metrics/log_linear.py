"""Log-linear pools of classifiers: p(c | x) = prod_m p_m(c | x)^w_m / Z(x)."""

from jaxtyping import Float, Int
import numpy as np


def fit(
    log_p: Float[np.ndarray, "M N K"], labels: Int[np.ndarray, "N"]
) -> Float[np.ndarray, "M"]:
  """The most probable weights w of M classifiers, given N examples of them:

    minimize  -sum_i log softmax(sum_m w_m log p_mi)[label_i] + sum_m (w_m - 1 / M)^2 / 2

  The second term is a normal prior around the geometric mean, of variance 1. It decides where
  examples are few or all classifiers are right; the first term grows with N. The sum of w is the
  pool's inverse temperature: a classifier that is overconfident gets a small weight. The
  objective is convex, so this is its minimum; weights may be negative.

  Args:
    log_p: log p_m(c | x_i), or logits.
    labels: classes 0 to K - 1.

  Raises:
    ValueError: there are no examples or no classifiers, or labels have another length.

  Source: Genest and Zidek, "Combining probability distributions" (1986), for the logarithmic
    pool; Hinton, "Training products of experts by minimizing contrastive divergence" (2002).
  """
  import scipy.optimize  # Half a second, which only this needs.

  if log_p.ndim != 3 or not log_p.size:
    raise ValueError(f"log_p: expected examples of classifiers, (M, N, K), got {log_p.shape}")
  if labels.shape != log_p.shape[1:2]:
    raise ValueError(f"labels: expected shape {log_p.shape[1:2]}, got {labels.shape}")
  log_p = log_p.astype(np.float64)
  right = np.take_along_axis(log_p, labels[None, :, None], -1)[..., 0]
  prior = np.full(len(log_p), 1 / len(log_p))

  def objective(weights):
    scores = np.tensordot(weights, log_p, 1)
    largest = scores.max(-1, keepdims=True)
    p = np.exp(scores - largest)
    total = p.sum(-1, keepdims=True)
    value = (np.log(total) + largest).sum() - weights @ right.sum(1)
    gradient = (log_p * (p / total)).sum((1, 2)) - right.sum(1) + weights - prior
    return value + ((weights - prior) ** 2).sum() / 2, gradient

  return scipy.optimize.minimize(objective, prior, jac=True, method="BFGS").x
