"""One against the rest and one against one, against loops over binary classifiers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from dlx.layers import linear, losses
from dlx.models import lbfgs, multiclass

K = 4
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(30, 3)), RNG.integers(0, K, 30)
PAIRS = list(itertools.combinations(range(K), 2))


@pytest.fixture(params=["eager", "jit"])
def compile_(request, x64):
  return jax.jit if request.param == "jit" else lambda function: function


def binary(z, y):
  """-log s(z) if y, else -log s(-z)."""
  return float(np.logaddexp(0, -z if y else z))


def test_terms_are_sums_over_binary_classifiers(compile_):
  sizes = {kind: multiclass.num_scores(kind, K) for kind in multiclass.KINDS}
  scores = {kind: RNG.normal(size=(30, size)) for kind, size in sizes.items()}
  expected = {
      "softmax": -special.log_softmax(scores["softmax"], 1)[np.arange(30), LABELS],
      "one_vs_rest": [
          sum(binary(row[c], label == c) for c in range(K))
          for row, label in zip(scores["one_vs_rest"], LABELS)
      ],
      "one_vs_one": [
          sum(binary(z, label == i) for z, (i, j) in zip(row, PAIRS) if label in (i, j))
          for row, label in zip(scores["one_vs_one"], LABELS)
      ],
  }
  for kind, found in expected.items():
    terms = compile_(lambda z, kind=kind: multiclass.terms(kind, z, jnp.asarray(LABELS)))
    np.testing.assert_allclose(terms(scores[kind]), found, rtol=1e-12)


def test_logits_are_the_logarithms_of_probabilities(compile_):
  rest, one = RNG.normal(size=(30, K)), RNG.normal(size=(30, len(PAIRS)))
  p = special.expit(rest)
  found = special.softmax(compile_(lambda z: multiclass.logits("one_vs_rest", z))(rest), 1)
  np.testing.assert_allclose(found, p / p.sum(1, keepdims=True), rtol=1e-12)
  expected = np.zeros((30, K))
  for z, (i, j) in zip(one.T, PAIRS):
    expected[:, i] += np.log(special.expit(z))
    expected[:, j] += np.log(special.expit(-z))
  found = compile_(lambda z: multiclass.logits("one_vs_one", z))(one)
  np.testing.assert_allclose(found, expected, rtol=1e-12)


def fitted(kind, x, labels, num_classes, l2=0.01):
  def objective(params, x, labels):
    terms = multiclass.terms(kind, linear.apply(params, x), labels)
    return terms.mean() + losses.l2_penalty(params["kernel"], l2)

  count = multiclass.num_scores(kind, num_classes)
  start = {"kernel": jnp.zeros((x.shape[1], count)), "bias": jnp.zeros(count)}
  given = {"x": jnp.asarray(x), "labels": jnp.asarray(labels)}
  return lbfgs.minimize(objective, start, given, tolerance=1e-9).params


@pytest.mark.full
def test_the_fit_is_that_of_each_binary_classifier_alone(x64):
  rest, one = (fitted(kind, X, LABELS, K) for kind in ("one_vs_rest", "one_vs_one"))

  def alone(x, y):
    """One binary logistic regression, its loss divided by all 30 examples."""
    share = len(x) / 30
    found = fitted("one_vs_rest", x, np.where(y, 0, 1), 1, 0.01 / share)
    return found["kernel"][:, 0], found["bias"][0]

  for c in range(K):
    w, b = alone(X, LABELS == c)
    np.testing.assert_allclose(rest["kernel"][:, c], w, atol=1e-6)
    np.testing.assert_allclose(rest["bias"][c], b, atol=1e-6)
  for column, (i, j) in enumerate(PAIRS):
    of_pair = (LABELS == i) | (LABELS == j)
    w, b = alone(X[of_pair], LABELS[of_pair] == i)
    np.testing.assert_allclose(one["kernel"][:, column], w, atol=1e-6)
    np.testing.assert_allclose(one["bias"][column], b, atol=1e-6)


def test_on_separable_classes_the_sum_of_log_probabilities_is_the_vote(x64):
  labels = np.arange(60) % 3
  corners = 4 * np.array([[1.0, 0], [-0.5, 0.87], [-0.5, -0.87]])
  x = corners[labels] + RNG.uniform(-1, 1, (60, 2))
  scores = np.asarray(linear.apply(fitted("one_vs_one", x, labels, 3), x))
  votes = np.zeros((60, 3))
  for z, (i, j) in zip(scores.T, itertools.combinations(range(3), 2)):
    votes[np.arange(60), np.where(z > 0, i, j)] += 1
  assert (votes.max(1) == 2).all()  # One class wins both of its pairs.
  found = np.asarray(multiclass.logits("one_vs_one", scores)).argmax(1)
  assert (found == votes.argmax(1)).all() and (found == labels).all()


@pytest.mark.full
@pytest.mark.parametrize("kind", multiclass.KINDS)
def test_two_classes_are_logistic_regression(x64, kind):
  labels = LABELS % 2
  scores = linear.apply(fitted(kind, X, labels, 2, 0.0), X)
  found = special.softmax(multiclass.logits(kind, scores), 1)[:, 1]
  binary_fit = fitted("one_vs_rest", X, 1 - labels, 1, 0.0)
  expected = special.expit(np.asarray(linear.apply(binary_fit, X))[:, 0])
  np.testing.assert_allclose(found, expected, atol=1e-5)
