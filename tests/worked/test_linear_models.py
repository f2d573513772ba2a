"""Linear models: closed forms, the perceptron, one step of gradient descent."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.layers import linear, losses
from dlx.models import perceptron
from dlx.models import ridge as ridge_regression

pytestmark = pytest.mark.usefixtures("x64")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 2))
Y = RNG.normal(size=(6,)) + 3
DESIGN = np.concatenate([np.ones((6, 1)), X], axis=1)  # The bias as a feature that is 1.


def sum_of_squares(w, b, x, y):
  """sum_n (y_n - (w x_n + b))^2, a mean times the number of examples."""
  predictions = linear.apply({"kernel": w[:, None], "bias": b}, x)[:, 0]
  return losses.squared_error(predictions, y) * len(y)


def ridge(w, b, x, y, weight):
  """The sum of squares + weight |w|^2: dlx's penalty has a factor of one half."""
  return sum_of_squares(w, b, x, y) + losses.l2_penalty(w, weight=2 * weight)


def solve(x, y, weight=0.0):
  """(X^T X + weight I)^-1 X^T y."""
  return np.linalg.solve(x.T @ x + weight * np.eye(x.shape[1]), x.T @ y)


def test_the_least_squares_solution_has_a_zero_gradient(run):
  """Notes, Linear models: w = (X^T X)^-1 X^T y, with the bias as a feature that is 1."""
  solution = solve(DESIGN, Y)
  b, w = solution[:1], solution[1:]
  d_w, d_b = run(jax.grad(sum_of_squares, argnums=(0, 1)))(w, b, X, Y)
  np.testing.assert_allclose(d_w, 0, atol=1e-12)
  np.testing.assert_allclose(d_b, 0, atol=1e-12)
  assert np.abs(jax.grad(sum_of_squares)(w + 0.1, b, X, Y)).max() > 0.1


def test_the_ridge_solution_has_a_zero_gradient(run):
  """Notes, Linear models: w = (X^T X + lambda I)^-1 X^T y, for a model without a bias.

  It exists where X^T X has no inverse, here with a duplicated feature.
  """
  twice = np.concatenate([X, X[:, :1]], axis=1)
  assert np.linalg.matrix_rank(twice.T @ twice) == 2
  w = solve(twice, Y, 0.7)
  d_w = run(jax.grad(ridge))(w, jnp.zeros(1), twice, Y, 0.7)
  np.testing.assert_allclose(d_w, 0, atol=1e-12)
  assert float(w[0]) == pytest.approx(float(w[2]), rel=1e-9)


def test_the_ridge_formula_penalizes_the_bias_unlike_the_loss(run):
  """Erratum of the notes, Linear models.

  The loss penalizes only w. The closed form beside it, with the bias as a constant
  feature as the notes say, penalizes the bias too, so it is not that loss's minimum. The
  minimum has a 0 in the penalty's matrix where the constant feature is.
  """
  weight = 2.0
  gradient = run(jax.grad(ridge, argnums=(0, 1)))
  printed = solve(DESIGN, Y, weight)
  _, d_b = gradient(printed[1:], printed[:1], X, Y, weight)
  assert np.abs(d_b[0] + 2 * weight * printed[0]) < 1e-11 and np.abs(d_b[0]) > 1
  penalty = weight * np.diag([0.0, 1, 1])
  right = np.linalg.solve(DESIGN.T @ DESIGN + penalty, DESIGN.T @ Y)
  (params,) = ridge_regression.fit(X, Y, [weight / len(X)])
  np.testing.assert_allclose([*params["bias"], *params["kernel"][:, 0]], right, rtol=1e-12)
  d_w, d_b = gradient(params["kernel"][:, 0], params["bias"], X, Y, weight)
  np.testing.assert_allclose(d_w, 0, atol=1e-11)
  np.testing.assert_allclose(d_b, 0, atol=1e-11)


def test_a_gaussian_prior_is_ridge_regression(run):
  """Notes, Maximum a posteriori: w ~ N(0, tau^2 I) gives argmin lambda |w|^2 + squared loss.

  With noise of variance s^2 on y, -log p(w | y) is the sum of squares / (2 s^2) +
  |w|^2 / (2 tau^2) and a constant: lambda = s^2 / tau^2.
  """
  s, tau = 0.5, 2.0
  w = solve(X, Y, s**2 / tau**2)

  def minus_log_posterior(w):
    likelihood = sum_of_squares(w, jnp.zeros(1), X, Y) / (2 * s**2)
    return likelihood + losses.l2_penalty(w, weight=1 / tau**2)

  np.testing.assert_allclose(run(jax.grad(minus_log_posterior))(w), 0, atol=1e-11)


def test_the_squared_loss_is_of_a_difference(run):
  """Erratum of the notes and of question 5 below: (y_n (w x_n + b))^2, the minus sign lost.

  So in the loss of ridge regression, the posterior and the exam's L(w). Where the gradient
  of the difference's square is zero, that of the product's is not. The first loss of the notes
  has two lines mixed, (y_n - y_n)(w x_n + b))^2, which is 0 for all weights.
  """
  solution = solve(DESIGN, Y)
  b, w = jnp.asarray(solution[:1]), jnp.asarray(solution[1:])
  product = run(jax.grad(lambda w: jnp.sum((Y * (X @ w + b)) ** 2)))(w)
  np.testing.assert_allclose(run(jax.grad(sum_of_squares))(w, b, X, Y), 0, atol=1e-12)
  assert np.abs(product).max() > 1
  mixed = run(lambda w: jnp.sum(((Y - Y) * (X @ w + b)) ** 2))
  assert float(mixed(w)) == float(mixed(w + 5)) == 0 < float(sum_of_squares(w, b, X, Y))


def test_the_targets_are_numbers_and_not_the_inputs(run):
  """Erratum of the notes, Linear models: y is printed with the rows of X.

  With it (X^T X)^-1 X^T y is the unit matrix, whatever is to be predicted. With y_1 to y_N it
  is the weights of least squares, where the gradient vanishes.
  """
  np.testing.assert_allclose(solve(X, X), np.eye(2), atol=1e-12)
  gradient = run(jax.grad(lambda w: sum_of_squares(w, jnp.zeros(1), X, Y)))
  np.testing.assert_allclose(gradient(jnp.asarray(solve(X, Y))), 0, atol=1e-12)
  for row in np.eye(2):
    assert np.abs(gradient(jnp.asarray(row))).max() > 1


def test_the_descent_step_adds_the_error_times_the_features(run):
  """Erratum of the final exam of February 12, 2022, part 1, question 5 (its solution).

  L = 1/2 sum (y_i - w phi_i)^2 has the gradient -sum (y_i - w phi_i) phi_i, so a step of
  gradient descent is w + eta sum (...). The solution writes w - eta sum (...), which
  climbs. A stochastic step is the same for a single example.
  """
  w, eta = jnp.array([0.5, -1.0]), 0.01

  def half(w, x, y):
    return sum_of_squares(w, jnp.zeros(1), x, y) / 2

  def step(w, x, y):
    sgd = optax.sgd(eta)
    update, _ = sgd.update(jax.grad(half)(w, x, y), sgd.init(w))
    return optax.apply_updates(w, update)

  error = Y - X @ w
  np.testing.assert_allclose(run(step)(w, X, Y), w + eta * (error @ X), rtol=1e-12)
  np.testing.assert_allclose(run(step)(w, X[:1], Y[:1]), w + eta * error[0] * X[0], rtol=1e-12)
  printed = w - eta * (error @ X)
  assert half(run(step)(w, X, Y), X, Y) < half(w, X, Y) < half(printed, X, Y)


def test_a_full_batch_step_is_the_sum_of_stochastic_steps(run):
  """Notes, Logistic regression: gradient descent uses the sum over all examples."""

  def loss(w, x, y):
    scores = linear.apply({"kernel": w[:, None]}, x)[:, 0]
    return losses.binary_cross_entropy(scores, y) * len(y)

  w, labels = jnp.array([0.5, -1.0]), (Y > 3).astype(Y.dtype)
  gradient = run(jax.grad(loss))
  each = [gradient(w, X[i : i + 1], labels[i : i + 1]) for i in range(6)]
  np.testing.assert_allclose(gradient(w, X, labels), sum(each), rtol=1e-12)
  errors = 1 / (1 + np.exp(-(X @ np.asarray(w)))) - labels
  np.testing.assert_allclose(gradient(w, X, labels), errors @ X, rtol=1e-12)


INPUTS = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])  # A and B; -1 is False.
A, B = INPUTS.T > 0


@pytest.mark.parametrize(
    ("function", "learnable"),
    [
        ((A & ~B) | (~A & B), False),
        ((A ^ B) & A, True),
        (A | B, True),
        (~A & B, True),
    ],
    ids=["A xor B", "(A xor B) and A", "A or B", "not A and B"],
)
def test_a_perceptron_learns_all_functions_but_xor(run, function, learnable):
  """Final exam of February 12, 2022, part 1, question 4: only A xor B cannot be learned.

  Erratum: False is printed "not 1" for -1; sign(w x) gives -1 and +1. The algorithm stops on the
  others. For the exclusive or no weights exist: adding what
  (1, -1) and (-1, 1) ask, 2b > 0, contradicts the other two, 2b < 0.
  """
  labels = np.where(function, 1.0, -1.0)
  fit = run(lambda x, y: perceptron.binary(perceptron.zeros(2, 1), x, y, passes=20))
  params, mistakes = fit(INPUTS, labels)
  assert (mistakes[-1] == 0) == learnable
  if learnable:
    np.testing.assert_array_equal(np.sign(linear.apply(params, jnp.asarray(INPUTS)))[:, 0], labels)


def test_a_score_for_each_class_needs_a_row_for_each_class(run):
  """Erratum of the notes, Multi-class classification.

  W is called d x |Y|, and the prediction argmax(W phi(x) + b); the product exists
  only for W of |Y| x d (or as W^T phi). dlx's kernel is d x |Y|, with phi on its left; for a
  column W phi it is W^T, here |Y| x d, which takes no phi of d features.
  """
  w, phi, b = jnp.arange(8.0).reshape(2, 4), jnp.array([1.0, -2.0]), jnp.ones(4)
  scores = run(linear.apply)({"kernel": w, "bias": b}, phi)
  np.testing.assert_array_equal(scores, [-7, -8, -9, -10])
  with pytest.raises(ValueError, match="x: expected a last dimension of 4, got shape"):
    run(linear.apply)({"kernel": w.T}, phi)


def test_the_multi_class_perceptron_moves_two_rows(run):
  """Notes, Multi-class classification, the update, whose minus sign is lost in print.

  For a true class y and a prediction c that is not y, W_y gains phi and W_c loses it:
  a step against the gradient of score_c - score_y. As printed, W_c is multiplied by phi;
  from W = 0 it would stay zero.
  """
  phi, true, predicted = jnp.array([1.0, -2.0]), 2, 0
  kernel = np.zeros((2, 4))
  fit = run(lambda x, y: perceptron.multi_class({"kernel": jnp.asarray(kernel)}, x, y, passes=1))
  params, _ = fit(phi[None], jnp.array([true]))  # All scores are 0: the first class is predicted.
  updated = params["kernel"].T  # A row for each class.
  np.testing.assert_array_equal(updated[true], phi)
  np.testing.assert_array_equal(updated[predicted], -phi)
  assert not np.array_equal(updated[predicted], kernel[:, predicted] * phi)


def test_stacked_linear_layers_are_one_linear_layer(run):
  """Final exam of February 12, 2022, part 1, question 6: a linear hidden layer adds nothing."""
  first, second = (
      linear.init(jax.random.key(seed), d_in, d_out) for seed, d_in, d_out in ((0, 2, 5), (1, 5, 3))
  )
  first, second = first | {"bias": jnp.arange(5.0)}, second | {"bias": -jnp.arange(3.0)}
  both = {
      "kernel": first["kernel"] @ second["kernel"],
      "bias": first["bias"] @ second["kernel"] + second["bias"],
  }
  deep = run(lambda x: linear.apply(second, linear.apply(first, x)))(jnp.asarray(X))
  np.testing.assert_allclose(deep, linear.apply(both, X), rtol=1e-12)
