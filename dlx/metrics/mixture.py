"""Mixtures of language models: p(x_t | ...) = sum_k w_k p_k(x_t | ...)."""

from jaxtyping import Float
import numpy as np


def fit(
    log_p: Float[np.ndarray, "N K"], *, tolerance: float = 1e-9, max_iterations: int = 2000
) -> Float[np.ndarray, "K"]:
  """The weights that maximize the likelihood of N tokens, by expectation maximization:

    w_k <- 1/N sum_t w_k p_tk / sum_j w_j p_tj

  from equal weights until the mean of log p grows by less than `tolerance`. The likelihood is
  concave in w, so this is its maximum.

  Args:
    log_p: log p of each token, by each of K models.
    tolerance: in nats per token.
    max_iterations: the maximum number of steps.

  Raises:
    ValueError: there are no tokens, or no models.

  Source: Dempster, Laird, Rubin, "Maximum likelihood from incomplete data via the EM algorithm"
    (1977); Jelinek and Mercer (1980) for language models.
  """
  if log_p.ndim != 2 or not log_p.size:
    raise ValueError(f"log_p: expected tokens of one or more models, (N, K), got {log_p.shape}")
  largest = log_p.astype(np.float64).max(1)
  p = np.exp(log_p - largest[:, None])
  weights, before = np.full(p.shape[1], 1 / p.shape[1]), -np.inf
  for _ in range(max_iterations):
    total = p @ weights
    likelihood = (np.log(total) + largest).mean()
    if likelihood - before < tolerance:
      break
    weights, before = weights * (p.T @ (1 / total)) / len(p), likelihood
  return weights


def loss(log_p: Float[np.ndarray, "N K"], weights: Float[np.ndarray, "K"]) -> float:
  """-1/N sum_t log sum_k w_k p_tk."""
  largest = log_p.astype(np.float64).max(1)
  return float(-(np.log(np.exp(log_p - largest[:, None]) @ weights) + largest).mean())
