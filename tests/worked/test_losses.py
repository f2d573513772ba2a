"""Losses and their derivatives in the course notes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as linear_gradients
from dlx.gradients import losses as gradients
from dlx.layers import linear, losses

pytestmark = pytest.mark.usefixtures("x64")

W = np.array([[0.5], [-1.0], [2.0]])
X = np.array([1.0, 2.0, 0.3])
Y_HAT = 0.5 - 2.0 + 0.6  # w x = -0.9.


def logistic(z):
  return 1 / (1 + np.exp(-z))


def to_weights(loss_vjp, target):
  """The gradient of loss(w x, target) with respect to w: two of dlx's rules in a row."""
  params, x = {"kernel": jnp.asarray(W)}, jnp.asarray(X)
  d_score = loss_vjp(linear.apply(params, x), jnp.asarray([target]))
  return linear_gradients.apply_vjp(params, x, d_out=d_score)[0]["kernel"][:, 0]


def test_the_squared_loss_has_the_gradient_minus_error_times_x(run):
  """Notes, Squared loss derivative: grad_w 1/2 (y - w x)^2 = (y - y_hat) (-x).

  Erratum: the printed line does not end there, but continues with further "=" and other
  products. dlx's squared_error has no 1/2, so half of its gradient is compared.
  """

  def gradient(y):
    d_out = jnp.asarray(0.5)
    return to_weights(
        lambda s, t: gradients.squared_error_vjp(s, t, d_out=d_out)[0], y
    )

  y = 1.5
  np.testing.assert_allclose(run(gradient)(y), (y - Y_HAT) * -X, rtol=1e-12)
  # The line continues with: grad_w of w itself in the place of grad_w of w x.
  assert np.abs(run(gradient)(y) - (y - Y_HAT) * np.ones(3)).min() > 0.5


def test_one_half_makes_the_derivative_prediction_minus_target(run):
  """Erratum of the notes, Training neural networks: "the derivative is y y_hat".

  A minus sign is lost in print, and y - y_hat has the wrong sign too: the derivative of
  1/2 (y_hat - y)^2 with respect to the prediction y_hat is y_hat - y.
  """
  y, y_hat = jnp.array([1.5]), jnp.array([-0.9])
  d_y_hat, d_y = run(
      lambda p, t: gradients.squared_error_vjp(p, t, d_out=jnp.asarray(0.5))
  )(y_hat, y)
  assert float(d_y_hat[0]) == pytest.approx(-0.9 - 1.5)
  assert float(d_y[0]) == pytest.approx(1.5 + 0.9)  # With respect to the target, y - y_hat.
  assert abs(float(d_y_hat[0]) - 1.5 * -0.9) > 1


def test_binary_cross_entropy_has_the_gradient_prediction_minus_target(run):
  """Erratum of the notes, Cross-entropy loss derivative.

  It is for y log s(w x) + (1 - y) log(1 - s(w x)), the loss without its minus sign, and
  prints y grad(s) s + (1 - y) grad(1 - s) (1 - s): the bars of the fractions are lost, as
  d log s = grad(s) / s. Divided, and with the sign, it is (s - y) x.
  """

  def gradient(y):
    d_out = jnp.asarray(1.0)
    return to_weights(
        lambda s, t: gradients.binary_cross_entropy_vjp(s, t, d_out=d_out)[0], y
    )

  s, y = logistic(Y_HAT), 0.25
  slope = s * (1 - s) * X  # grad_w of s(w x).
  value = run(gradient)(y)
  np.testing.assert_allclose(value, (s - y) * X, rtol=1e-12)
  np.testing.assert_allclose(value, -(y * slope / s - (1 - y) * slope / (1 - s)), rtol=1e-12)
  printed = y * slope * s - (1 - y) * slope * (1 - s)
  assert np.abs(value - printed).min() > 0.03 and np.abs(value + printed).min() > 0.01


def test_cross_entropy_of_a_class_is_minus_its_log_probability(run):
  """Notes, Training neural networks: -sum_i y_i log f_i = -log softmax(z)_y.

  Erratum of the part on sequence-to-sequence models: log(softmax(z)) y, without the sign.
  """
  z, label = jnp.array([1.0, -0.5, 2.0]), 1
  p = np.exp(z) / np.exp(z).sum()
  label = jnp.asarray(label)
  loss = float(run(losses.cross_entropy)(z, label))
  assert loss == pytest.approx(-np.log(p[label]), rel=1e-12)
  assert loss == pytest.approx(-float(np.log(p) @ np.eye(3)[label]), rel=1e-12)
  assert abs(loss - float(np.log(p) @ np.eye(3)[label])) > 1
  d_z = run(lambda z: gradients.cross_entropy_vjp(z, labels=label, d_out=jnp.asarray(1.0)))(z)
  np.testing.assert_allclose(d_z, p - np.eye(3)[label], rtol=1e-12)


def test_the_loss_of_several_examples_is_their_mean(run):
  """Notes, Training neural networks: 1/N sum_n L(f(x_n), y_n), and MSE for linear models.

  Erratum: the mean squared error is once 1/N sum (y_n - f_n)^2 and once 1/2 (f - y)^2, whose
  mean over N examples is half of it. dlx's is the first.
  """
  predictions, targets = jnp.array([1.0, -2.0, 0.5]), jnp.array([0.0, 1.0, 0.5])
  mean = (1.0**2 + 3.0**2 + 0.0**2) / 3
  assert float(run(losses.squared_error)(predictions, targets)) == pytest.approx(mean, rel=1e-14)
  halves = [float(run(losses.squared_error)(p, t)) / 2 for p, t in zip(predictions, targets)]
  assert sum(halves) / 3 == pytest.approx(mean / 2, rel=1e-14)


def test_a_loss_is_added_to_its_penalty(run):
  """Notes, Training neural networks: L(theta) = lambda Omega(theta) + the mean loss.

  So the gradient has a term lambda w more when Omega is half the squared norm.
  """
  x, y = jnp.asarray(X), jnp.asarray([1.5])

  def loss(w, weight):
    error = losses.squared_error(linear.apply({"kernel": w}, x), y) / 2
    return error + losses.l2_penalty({"kernel": w}, weight)

  gradient = run(jax.grad(loss))
  more = gradient(jnp.asarray(W), 0.3) - gradient(jnp.asarray(W), 0.0)
  np.testing.assert_allclose(more, 0.3 * W, rtol=1e-12)
