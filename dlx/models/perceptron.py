"""The perceptron: weights that change only at mistakes, for two and for several classes.

  two classes, y in {-1, 1}:   mistake if y (w phi + b) <= 0,       then  w <- w + y phi
  K classes:                   mistake if c = argmax_k W_k phi != y, then  W_y <- W_y + phi
                                                                          W_c <- W_c - phi

phi includes a constant 1, whose weight is the bias, if params have one. Scores of doubled inputs
without a bias are doubled at every moment, so that from zero weights the mistakes are the same.

Source: Rosenblatt, "The perceptron" (1958); Novikoff, "On convergence proofs on perceptrons"
  (1962), for the bound; Collins, "Discriminative training methods for hidden Markov models" (2002),
  and Crammer and Singer (2003), for several classes; Freund and Schapire, "Large margin
  classification using the perceptron algorithm" (1999), for averaged weights.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
from scipy import optimize

from dlx.errors import UserError
from dlx.layers import linear


class Fitted(NamedTuple):
  """Params of dlx.layers.linear, and the number of mistakes of each pass (P,)."""

  params: dict[str, Array]
  mistakes: Int[Array, "P"]


def zeros(d_in: int, d_out: int, *, bias: bool = True) -> dict[str, Array]:
  """Zero weights: `kernel (d_in, d_out)` and `bias (d_out,)`."""
  params = {"kernel": jnp.zeros((d_in, d_out))}
  return {**params, "bias": jnp.zeros(d_out)} if bias else params


def binary(
    params: dict[str, Array], x: Float[Array, "N D"], y: Float[Array, "N"], *,
    passes: int, average: bool = False,
) -> Fitted:  # fmt: skip
  """The perceptron of two classes; the examples are visited in their order.

  Args:
    params: the start, with `kernel` (D, 1); see `zeros`.
    x: phi.
    y: -1 or 1.
    passes: P, over all examples.
    average: return the mean of the weights after each visit instead of the last ones.
  """

  def change(params, x, y):
    wrong = y * linear.apply(params, x)[0] <= 0  # A score of 0 is a mistake.
    return jnp.where(wrong, y, 0)[None], wrong

  return _train(change, params, (x, y), passes, average)


def multi_class(
    params: dict[str, Array], x: Float[Array, "N D"], labels: Int[Array, "N"], *,
    passes: int, average: bool = False,
) -> Fitted:  # fmt: skip
  """The perceptron of K classes: of equal scores, the first class is predicted.

  Args:
    params: the start, with `kernel` (D, K).
    labels: classes 0 to K - 1.
    x, passes, average: as for `binary`.
  """

  def change(params, x, label):
    scores = linear.apply(params, x)
    predicted, classes = scores.argmax(), jnp.arange(scores.shape[0])
    signs = (classes == label).astype(scores.dtype) - (classes == predicted)
    return signs, predicted != label

  return _train(change, params, (x, labels), passes, average)


def _train(change: Callable, params, examples, passes, average) -> Fitted:
  """Visits examples; `change(params, *example)` is (the factor of phi for each row, mistake)."""

  def visit(carry, example):
    params, mean, count = carry
    signs, wrong = change(params, *example)
    features = {"kernel": example[0][:, None], "bias": 1}
    params = {name: p + features[name] * signs for name, p in params.items()}
    count = count + 1
    if average:
      mean = jax.tree.map(lambda m, p: m + (p - m) / count, mean, params)
    return (params, mean, count), wrong

  def one_pass(carry, _):
    carry, wrong = lax.scan(visit, carry, examples)
    return carry, wrong.sum()

  start = params, params, jnp.zeros((), jnp.float32)
  (params, mean, _), mistakes = lax.scan(one_pass, start, length=passes)
  return Fitted(mean if average else params, mistakes)


def best_separator(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "N"]) -> np.ndarray:
  """The w of least norm with y_i w x_i >= 1 for all i; its margin is 1 / |w|, the largest.

  That is a least distance problem, solved as one of nonnegative least squares.

  Args:
    x: phi; with a column of ones where there is a bias.
    y: -1 or 1.

  Raises:
    UserError: no w separates the examples.

  Source: Lawson and Hanson, "Solving least squares problems" (1974), chapter 23.
  """
  x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
  scale = np.abs(x).max(initial=0) or 1.0
  constraints = y[:, None] * x / scale
  matrix = np.r_[constraints.T, np.ones((1, len(x)))]
  target = np.append(np.zeros(x.shape[1]), 1.0)
  residual = matrix @ optimize.nnls(matrix, target)[0] - target
  with np.errstate(divide="ignore", invalid="ignore"):  # 0 / 0 where nothing separates.
    w = -residual[:-1] / residual[-1]
  if not (np.isfinite(w).all() and (constraints @ w > 0.5).all()):
    raise UserError(
        f"no line (hyperplane through 0) separates the two classes of the {len(x)} examples, so "
        f"that the number of mistakes has no bound; give separable data"
    )
  return w / scale


def mistake_bound(x: Float[np.ndarray, "N D"], y: Float[np.ndarray, "N"]) -> float:
  """(R / gamma)^2, at most so many mistakes does the perceptron make from zero weights.

  R is the length of the longest x, and gamma the margin min_i y_i u x_i of the unit vector u that
  makes it largest. Each mistake adds at least gamma to u w, and at most R^2 to |w|^2.

  Args:
    x, y: as for `best_separator`, which raises UserError.
  """
  radius = np.linalg.norm(np.asarray(x, np.float64), axis=1).max()
  return float((radius * np.linalg.norm(best_separator(x, y))) ** 2)


def class_differences(
    x: Float[np.ndarray, "N D"], labels: Int[np.ndarray, "N"], num_classes: int
) -> Float[np.ndarray, "M KD"]:
  """The vectors z of which W z > 0, flattened, says that a score is above that of another class.

  The perceptron of K classes is that of two on them, all with y = 1 (Kesler's construction), and
  so has the same bound: z has phi at its class, -phi at the other one, and zeros elsewhere.

  Args:
    x: phi.
    labels: classes 0 to K - 1.
    num_classes: K.
  """
  eye = np.eye(num_classes)
  signs = eye[labels][:, None] - eye  # (N, K, K); the row of the label itself is zero.
  others = np.arange(num_classes) != np.asarray(labels)[:, None]
  differences = signs[..., None] * np.asarray(x)[:, None, None]
  return differences[others].reshape(-1, num_classes * np.shape(x)[1])
