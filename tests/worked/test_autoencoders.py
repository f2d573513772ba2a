"""Linear auto-encoders: the singular value decomposition, principal components, noise."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import activations
from dlx.gradients import linear as gradients
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
  x, w = jnp.asarray(X), jnp.eye(4)
  assert float(run(error)(w, x)) == 0
  product = run(lambda w, x: ((reconstruct(w, x) * x) ** 2).sum() / 2)
  assert float(product(w, x)) > 1
  assert float(product(jnp.zeros((4, 4)), x)) == 0  # It is least where nothing is restored.
  with pytest.raises(ValueError, match="x: expected a last dimension of 6, got shape"):
    run(linear.apply)({"kernel": x}, x)


def encode(params, x):
  """h = s(W x + b), s logistic."""
  return jax.nn.sigmoid(linear.apply(params, x))


def contraction(params, x):
  """sum_i |grad_x h_i|^2, the rows of the Jacobian by the rules of dlx."""
  z = linear.apply(params, x)

  def row(one):
    d_z = activations.sigmoid_vjp(z, d_out=one)
    return gradients.apply_vjp(params, x, d_out=d_z)[1]

  return (jax.vmap(row)(jnp.eye(z.size)) ** 2).sum()


def test_penalties_of_the_code_and_of_its_derivatives(run):
  """Notes, Regularized auto-encoders: lambda |h|^2 and lambda sum_i |grad_x h_i|^2.

  The first is dlx's l2_penalty of the code with the weight 2 lambda. For a logistic code the
  second is lambda sum_i (h_i (1 - h_i))^2 |W_i|^2: saturated units cost nothing, and a code
  whose weights are doubled at h = 1/2 costs four times as much.
  """
  weight, rng = 0.3, np.random.default_rng(2)
  params = {"kernel": rng.normal(size=(4, 3)), "bias": rng.normal(size=3)}
  x = rng.normal(size=4)

  def h(x):
    return 1 / (1 + np.exp(-(x @ params["kernel"] + params["bias"])))

  penalty = run(lambda x: losses.l2_penalty(encode(params, x), weight=2 * weight))(jnp.asarray(x))
  assert float(penalty) == pytest.approx(weight * sum(v * v for v in h(x)), rel=1e-12)
  steps = 1e-5 * np.eye(4)
  jacobian = (h(x + steps) - h(x - steps)) / 2e-5  # (D, H).
  value = float(run(contraction)(params, jnp.asarray(x)))
  assert value == pytest.approx((jacobian**2).sum(), rel=1e-8)
  lengths = (params["kernel"] ** 2).sum(0)
  assert value == pytest.approx(((h(x) * (1 - h(x))) ** 2 * lengths).sum(), rel=1e-12)
  saturated = {**params, "bias": params["bias"] + 40}
  assert float(run(contraction)(saturated, jnp.asarray(x))) < 1e-25
  doubled = {"kernel": 2 * params["kernel"], "bias": jnp.zeros(3)}
  middle = {"kernel": params["kernel"], "bias": jnp.zeros(3)}
  once, twice = (run(contraction)(p, jnp.zeros(4)) for p in (middle, doubled))
  assert float(twice) == pytest.approx(4 * float(once), rel=1e-12)


def test_principal_components_need_centred_data(run):
  """Erratum of the notes, Linear auto-encoder: "This is called Principal Component Analysis".

  They do not centre the data. Far from the origin the first singular vector points at the mean
  and not along the largest variance. Without biases the auto-encoder of one unit then leaves
  more of the data than that of the centred data does. (The decomposition is also stated for
  m >= n, and used for X^T, which has D < N rows; it exists for every shape.)
  """
  rng = np.random.default_rng(3)
  mean, direction = np.array([0.0, 5.0]), np.array([1.0, 0.0])
  x = mean + rng.normal(size=(200, 1)) * direction * 2 + rng.normal(size=(200, 2)) * 0.5
  centred = x - x.mean(0)
  assert x.T.shape == (2, 200)
  first, first_centred = (np.linalg.svd(a.T)[0][:, 0] for a in (x, centred))
  variance = np.linalg.eigh(np.cov(centred.T))[1][:, -1]  # The first principal component.
  np.testing.assert_allclose(np.abs(first_centred @ variance), 1, rtol=1e-12)
  assert np.abs(first @ variance) < 0.1 and np.abs(first @ mean) / 5 > 0.99
  left = [float(run(error)(jnp.asarray(w[None]), jnp.asarray(a)))
          for w, a in ((first, x), (first_centred, centred))]  # fmt: skip
  assert left[1] < left[0] / 2
