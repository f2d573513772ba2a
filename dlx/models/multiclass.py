"""K classes from linear scores z: softmax, one against the rest, and one against one.

  softmax        K scores    p(c | x) = exp(z_c) / sum_k exp(z_k)
  one_vs_rest    K scores    s(z_c) = p(c, and no other class),   p(c | x) = s(z_c) / sum_k s(z_k)
  one_vs_one     K (K-1)/2   s(z_ij) = p(i, if it is i or j),     p(c | x) ~ prod_j s(z_cj)

with s the sigmoid and z_ji = -z_ij. The binary classifiers of the last two are independent logistic
regressions. One against one predicts by the sum of the log-probabilities of a class's pairs and
not by counting the pairs it wins, so that there are no ties.

Source: Hastie and Tibshirani, "Classification by pairwise coupling" (1998); Rifkin and Klautau,
  "In defense of one-vs-all classification" (2004).
"""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import optax

KINDS = ("softmax", "one_vs_rest", "one_vs_one")


def pairs(num_classes: int) -> Int[np.ndarray, "P 2"]:
  """(i, j) of the score z_ij for each pair of classes, i < j."""
  return np.array(list(itertools.combinations(range(num_classes), 2)), np.int32).reshape(-1, 2)


def num_scores(kind: str, num_classes: int) -> int:
  """The number of scores; `kind` is one of KINDS."""
  return len(pairs(num_classes)) if kind == "one_vs_one" else num_classes


def terms(
    kind: str, scores: Float[Array, "B S"], labels: Int[Array, "B"]
) -> Float[Array, "B"]:
  """The loss of each example in nats, a sum over its binary classifiers.

  softmax: -log p(y | x). one_vs_rest: the cross-entropy of s(z_c) with the label y = c, for each of
  the classes scored. one_vs_one: the same of s(z_ij) with y = i, for each of the pairs that have y.

  Args:
    kind: one of KINDS.
    scores: z.
    labels: y.
  """
  if kind == "softmax":
    return optax.softmax_cross_entropy_with_integer_labels(scores, labels)
  if kind == "one_vs_rest":
    targets = labels[:, None] == jnp.arange(scores.shape[-1])
    return optax.sigmoid_binary_cross_entropy(scores, targets).sum(-1)
  first, second = (labels[:, None] == column for column in pairs(_num_classes(scores)).T)
  losses = optax.sigmoid_binary_cross_entropy(scores, first)
  return jnp.where(first | second, losses, 0).sum(-1)


def logits(kind: str, scores: Float[Array, "B S"]) -> Float[Array, "B K"]:
  """log p(c | x), up to a constant of each example: softmax(logits) are the probabilities.

  Args:
    kind, scores: as for `terms`.
  """
  if kind == "softmax":
    return scores
  if kind == "one_vs_rest":
    return jax.nn.log_sigmoid(scores)
  wins, losses = (
      jax.nn.one_hot(column, _num_classes(scores), dtype=scores.dtype)
      for column in pairs(_num_classes(scores)).T
  )
  return jax.nn.log_sigmoid(scores) @ wins + jax.nn.log_sigmoid(-scores) @ losses


def _num_classes(scores) -> int:
  """K of K (K - 1) / 2 scores."""
  return round((1 + (1 + 8 * scores.shape[-1]) ** 0.5) / 2)
