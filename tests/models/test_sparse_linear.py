"""The fit of sparse linear classifiers: products, the minimum, and another solver."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import sparse_linear

SINGLE = [2, 3, 4, 5, 12, 18, 19]


@pytest.fixture(scope="module")
def problem():
  """(x dense, its nonzeros, signs, scale) of 60 rows and 22 columns, one of them empty.

  Seven columns have a single one: 2 to 5 in row 20, of which 5 has another scale, 12 in row 9, and
  18 and 19 in row 40.
  """
  rng = np.random.default_rng(0)
  x = (rng.random((60, 22)) < 0.3).astype(float)
  scale = rng.normal(size=22)
  x[:, [7, *SINGLE]] = 0
  x[[20, 20, 20, 20, 9, 40, 40], SINGLE] = 1
  scale[[2, 3, 4]], scale[[18, 19]] = 0.7, -1.3
  signs = np.where(x @ rng.normal(size=22) + 0.5 * rng.normal(size=60) > 0, 1.0, -1.0)
  rows, columns = np.nonzero(x)
  matrix = sparse_linear.SparseBinary(np.int32(rows), np.int32(columns), *x.shape)
  return x, matrix, signs, scale


@pytest.mark.parametrize("compile_", [lambda f, **_: f, jax.jit], ids=["eager", "jit"])
def test_products_with_the_matrix_and_its_transpose(x64, problem, compile_):
  x, matrix, signs, scale = problem
  nonzeros = sparse_linear.nonzeros(matrix)
  product = compile_(sparse_linear.product, static_argnums=2)
  found, vjp = jax.vjp(lambda w: product(w, nonzeros, x.shape), jnp.asarray(scale))
  np.testing.assert_allclose(found, x @ scale, rtol=1e-12)
  np.testing.assert_allclose(vjp(jnp.asarray(signs))[0], x.T @ signs, rtol=1e-12, atol=1e-12)


def test_features_that_one_document_has_are_one_of_the_same_margins_and_penalty(problem):
  x, matrix, _, scale = problem
  merged = sparse_linear.merge(matrix, scale)
  together = [np.flatnonzero(merged.group == g).tolist() for g in range(len(merged.sizes))]
  assert sorted(t for t in together if len(t) > 1) == [[2, 3, 4], [18, 19]]
  assert len(together) == 19 and merged.sizes.tolist() == [len(t) for t in together]
  assert np.all(np.diff(merged.matrix.rows) >= 0)
  dense = np.zeros((60, 19))
  np.add.at(dense, (merged.matrix.rows, merged.matrix.columns), 1)
  assert dense.max() == 1
  u = np.random.default_rng(1).normal(size=19)
  v = (u / np.sqrt(merged.sizes))[merged.group]
  np.testing.assert_allclose(dense @ (merged.scale * u), x @ (scale * v), rtol=1e-12, atol=1e-12)
  np.testing.assert_allclose(u @ u, v @ v, rtol=1e-12)


def objective(w, bias, problem, loss, l2):
  x, _, signs, scale = problem
  margins = signs * (x @ (scale * w) + bias)
  each = np.logaddexp(0, -margins) if loss == "logistic" else np.maximum(0, 1 - margins) ** 2
  return each.mean() + l2 / 2 * w @ w


@pytest.mark.parametrize("loss", list(sparse_linear.LOSSES))
def test_the_fit_is_the_minimum(x64, problem, loss):
  """The objective is convex, so that it is the minimum where its derivatives are 0."""
  x, matrix, signs, scale = problem
  found = sparse_linear.fit(matrix, signs, scale, loss=loss, l2=0.01, tolerance=1e-8)
  w, bias = np.asarray(found.weights), float(found.bias)
  assert float(found.gradient_norm) < 1e-8 and 0 < int(found.steps) < 200
  margins = signs * (x @ (scale * w) + bias)
  slopes = -1 / (1 + np.exp(margins)) if loss == "logistic" else -2 * np.maximum(0, 1 - margins)
  per_row = signs * slopes / len(x)
  np.testing.assert_allclose(scale * (x.T @ per_row) + 0.01 * w, 0, atol=1e-8)
  assert abs(per_row.sum()) < 1e-8 and w[7] == 0
  least = objective(w, bias, problem, loss, 0.01)
  for k in range(22):
    for change in (-1e-3, 1e-3):
      moved = w + change * np.eye(22)[k]
      assert objective(moved, bias, problem, loss, 0.01) >= least


def test_it_is_that_of_scikit_learn(x64, problem):
  linear_model = pytest.importorskip("sklearn.linear_model", reason="needs scikit-learn")
  x, matrix, signs, scale = problem
  other = linear_model.LogisticRegression(C=1 / (0.01 * len(x)), tol=1e-10, max_iter=10_000)
  other.fit(x * scale, signs)
  found = sparse_linear.fit(matrix, signs, scale, loss="logistic", l2=0.01, tolerance=1e-8)
  np.testing.assert_allclose(found.weights, other.coef_[0], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(found.bias, other.intercept_[0], rtol=1e-4)


def test_a_fit_ends_where_single_precision_does(problem):
  _, matrix, signs, scale = problem
  arrays = np.float32(signs), np.float32(scale)
  found = sparse_linear.fit(matrix, *arrays, loss="logistic", l2=0.01, tolerance=0.0)
  assert int(found.steps) < 200 and float(found.gradient_norm) < 1e-4
