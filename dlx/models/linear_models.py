"""Linear models of numbers and of classes: their losses, and their solutions for all examples.

  z = W phi + b,   minimize  mean_i l(z_i, y_i) + (l2 / 2) |W|^2

kind         l                                                      solution
squared      (z - y)^2                                              closed form (ridge)
softmax, one_vs_rest, one_vs_one   cross-entropies, see multiclass  L-BFGS
perceptron   none: W changes at mistakes                            its algorithm
naive_bayes  none: W are log-likelihood ratios of Gaussians         means and variances
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.layers import linear, losses
from dlx.models import gaussian_naive_bayes, lbfgs, multiclass, perceptron, ridge

WITH_LOSS = (*multiclass.KINDS, "squared")
KINDS = (*WITH_LOSS, "perceptron", "naive_bayes")
_BOUNDED = 2_000_000  # Numbers in the examples that a bound of mistakes is computed for.


def num_outputs(kind: str, num_classes: int) -> int:
  """The columns of W: 1 for numbers, else those of `multiclass.num_scores`."""
  return 1 if kind == "squared" else multiclass.num_scores(kind, num_classes)


def outputs(kind: str, scores: Float[Array, "B S"]) -> Float[Array, "B"] | Float[Array, "B K"]:
  """The numbers that are predicted; or logits, the softmax of which are the probabilities.

  Args:
    kind: one of KINDS.
    scores: z. Those of the perceptron are no log-probabilities.
  """
  if kind == "squared":
    return scores[..., 0]
  return multiclass.logits(kind if kind in multiclass.KINDS else "softmax", scores)


def objective(
    params: Mapping[str, Array], phi: Float[Array, "B M"], batch: Mapping[str, Array], *,
    kind: str, l2: float,
) -> Float[Array, ""]:  # fmt: skip
  """mean l + (l2 / 2) |W|^2.

  Args:
    params: of dlx.layers.linear.
    phi: the features.
    batch: "targets" or "labels" (B,), and "weights" (B,) for a weighted mean.
    kind: one of WITH_LOSS.
    l2: the weight of the penalty.
  """
  scores = linear.apply(params, phi)
  if kind == "squared":
    terms = (scores[:, 0] - batch["targets"]) ** 2
  else:
    terms = multiclass.terms(kind, scores, batch["labels"])
  mean = losses.masked_mean(terms, weights=batch.get("weights"))
  return mean + losses.l2_penalty(params["kernel"], l2)


def fit(
    kind: str, phi: Float[np.ndarray, "N M"], train: Mapping[str, np.ndarray], num_classes: int, *,
    l2: float = 0.0, passes: int = 10, average: bool = False, seed: int = 0,
) -> dict:  # fmt: skip
  """The solution: {"params"}; with "mistakes" of each pass, or L-BFGS's "solver" figures.

  Args:
    kind: one of KINDS.
    phi: the features of all training examples.
    train: "targets" (N,) or "labels" (N,).
    num_classes: K.
    l2: the weight of the penalty, of WITH_LOSS.
    passes, average: of the perceptron.
    seed: of the order in which the perceptron visits the examples.

  Raises:
    UserError: there is no solution, or no unique one.
  """
  if kind == "squared":
    (params,) = ridge.fit(phi, train["targets"], [l2 / 2])
    return {"params": jax.tree.map(jnp.asarray, params)}
  if kind == "naive_bayes":
    params = gaussian_naive_bayes.fit(phi, train["labels"], num_classes)
    return {"params": jax.tree.map(jnp.asarray, params)}
  if kind == "perceptron":
    order = np.random.default_rng(seed).permutation(len(phi))
    phi, labels = jnp.asarray(phi[order]), jnp.asarray(train["labels"][order])
    return _perceptron(phi, labels, num_classes, {"passes": passes, "average": average})

  def of(params, phi, labels):
    return objective(params, phi, {"labels": labels}, kind=kind, l2=l2)

  start = perceptron.zeros(phi.shape[1], num_outputs(kind, num_classes))
  given = {"phi": jnp.asarray(phi), "labels": jnp.asarray(train["labels"])}
  found = lbfgs.minimize(of, start, given, max_steps=1000)
  return {
      "params": found.params,
      "solver": {"steps": found.steps, "gradient norm": found.gradient_norm},
  }


def _perceptron(phi, labels, num_classes, options) -> dict:
  """Of two classes, the scores of the first one are 0."""
  start = perceptron.zeros(phi.shape[1], 1 if num_classes == 2 else num_classes)
  if num_classes > 2:
    found = jax.jit(lambda *a: perceptron.multi_class(start, *a, **options))(phi, labels)
    return found._asdict()
  found = jax.jit(lambda *a: perceptron.binary(start, *a, **options))(phi, 2.0 * labels - 1)
  params = {name: jnp.concatenate([0 * p, p], -1) for name, p in found.params.items()}
  return {"params": params, "mistakes": found.mistakes}


def convergence(
    mistakes: Int[np.ndarray, "P"], phi: Float[np.ndarray, "N M"], labels: Int[np.ndarray, "N"],
    num_classes: int,
) -> dict[str, float]:  # fmt: skip
  """The mistakes of all passes and of the last one; their bound (R / gamma)^2 if that has none.

  The bound is left out where it would take long.

  Args:
    mistakes: of each pass.
    phi, labels: the training examples.
    num_classes: K.
  """
  found = {"mistakes": int(mistakes.sum()), "mistakes in the last pass": int(mistakes[-1])}
  x = np.c_[phi, np.ones(len(phi))]
  columns = x.size if num_classes == 2 else x.size * num_classes * (num_classes - 1)
  if found["mistakes in the last pass"] or columns > _BOUNDED:
    return found
  signs = 2 * labels - 1
  if num_classes > 2:
    x, signs = perceptron.class_differences(x, labels, num_classes), 1
  return {**found, "bound of mistakes": perceptron.mistake_bound(x, signs * np.ones(len(x)))}
