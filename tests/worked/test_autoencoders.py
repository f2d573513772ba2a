"""Linear auto-encoders: the singular value decomposition, principal components, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import linear, losses

pytestmark = pytest.mark.usefixtures("x64")

X = np.random.default_rng(0).normal(size=(6, 4)) * [3.0, 2.0, 1.0, 0.5]  # N = 6, D = 4.


def reconstruct(w, x):
  """Encoder h = W x and decoder W^T h of every row x; W is K x D, a kernel its transpose."""
  return linear.apply({"kernel": w}, linear.apply({"kernel": w.T}, x))


def error(w, x):
  """The sum of squared errors of all rows, the squared Frobenius norm of X - X W^T W."""
  return losses.squared_error(reconstruct(w, x), x) * x.size


@pytest.mark.parametrize("k", [1, 2, 3])
def test_the_best_linear_code_is_the_first_singular_vectors(run, k):
  """Notes, Linear auto-encoder: with X^T = U S V^T the minimizer is W = U_K^T.

  The error is the sum of the squares of the other singular values (Eckart-Young), it
  is a minimum, and W^T W has rank K. Final exam of February 12, 2022, part 1, question 6: the
  linear auto-encoder is PCA (of centred data).
  """
  u, s, vt = np.linalg.svd(X.T)
  w = jnp.asarray(u[:, :k].T)
  truncated = (u[:, :k] * s[:k]) @ vt[:k]
  np.testing.assert_allclose(run(reconstruct)(w, jnp.asarray(X)), truncated.T, atol=1e-12)
  best, d_w = run(jax.value_and_grad(error))(w, jnp.asarray(X))
  assert float(best) == pytest.approx((s[k:] ** 2).sum(), rel=1e-12)
  np.testing.assert_allclose(d_w, 0, atol=1e-10)
  other = u[:, [0, 3]].T if k == 2 else u[:, -k:].T
  assert float(error(jnp.asarray(other), jnp.asarray(X))) > float(best) + 0.1
  assert np.linalg.matrix_rank(w.T @ w) == k


def test_only_the_first_r_singular_vectors_span_the_range(run):
  """Erratum of the notes, Singular ("Single") value decomposition.

  The m columns of U are called a basis of R(A) and the n of V one of R(A^T). Those are
  the first r = rank A; all of U spans R^m. As an auto-encoder's code, r columns restore
  every column of A, and all m restore what A cannot reach, too.
  """
  a = np.array([[1.0, 2.0], [2.0, 4.0], [0.0, 0.0]])  # Rank 1.
  u, s, vt = np.linalg.svd(a)
  assert u.shape == (3, 3) and vt.shape == (2, 2) and np.sum(s > 1e-12) == 1
  np.testing.assert_allclose(s[0] ** 2, np.linalg.eigvalsh(a.T @ a)[-1], rtol=1e-12)
  columns, outside = jnp.asarray(a.T), jnp.array([0.0, 0.0, 1.0])
  first, all_columns = jnp.asarray(u[:, :1].T), jnp.asarray(u.T)
  np.testing.assert_allclose(run(reconstruct)(first, columns), columns, atol=1e-14)
  np.testing.assert_allclose(run(reconstruct)(first, outside), 0, atol=1e-14)
  np.testing.assert_allclose(run(reconstruct)(all_columns, outside), outside, atol=1e-14)
  rows, null = jnp.asarray(a), jnp.array([2.0, -1.0])  # A null = 0: not in R(A^T).
  np.testing.assert_allclose(run(reconstruct)(jnp.asarray(vt[:1]), rows), rows, atol=1e-14)
  np.testing.assert_allclose(run(reconstruct)(jnp.asarray(vt), null), null, atol=1e-14)
  np.testing.assert_allclose(a @ np.asarray(null), 0, atol=1e-14)


def test_a_denoising_auto_encoder_is_compared_with_the_clean_input(run):
  """Erratum of the notes, Denoising auto-encoders: 1/2 |x_hat - x~|^2.

  With the noisy input x~ as the target, copying it has loss 0 and nothing is denoised. The
  target is the clean x: then a code that keeps the data's direction and drops the rest
  beats the copy.
  """
  rng = np.random.default_rng(1)
  clean = jnp.asarray(rng.normal(size=(50, 1)) * np.array([[1.0, 1.0]]))
  noisy = clean + 0.3 * rng.normal(size=(50, 2))
  copy, project = jnp.eye(2), jnp.array([[1.0, 1.0]]) / np.sqrt(2)
  loss = run(lambda w, x, target: losses.squared_error(reconstruct(w, x), target))
  assert float(loss(copy, noisy, noisy)) == 0 < float(loss(project, noisy, noisy))
  right = {name: float(loss(w, noisy, clean)) for name, w in (("copy", copy), ("p", project))}
  assert 0.02 < right["p"] < 0.7 * right["copy"]


def test_a_reconstruction_error_is_of_a_difference(run):
  """Erratum of the notes, Auto-encoders: 1/2 |x_hat x|^2 and the like, without the minus sign.

  So in the loss, the objective without biases and the linear auto-encoder's X X W^T W,
  a product whose shapes do not fit. A perfect reconstruction has the error 0.
  """
  unit = jnp.eye(4)
  assert float(run(error)(unit, jnp.asarray(X))) == 0
  assert float(((X @ np.eye(4)) * X).sum() / 2) > 1
  with pytest.raises(ValueError, match="matmul"):
    X @ X
