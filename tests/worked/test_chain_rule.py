"""Derivatives from exams: softplus, tanh, log(1 + relu), a graph, a softmax."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import activations, softmax
from dlx.gradients import linear as gradients
from dlx.layers import linear

pytestmark = pytest.mark.usefixtures("x64")

POINTS = np.array([-3.0, -1, -0.25, 0, 0.25, 1, 3])


def logistic(t):
  return 1 / (1 + np.exp(-t))


def differences(f, x, eps=1e-6):
  return (f(x + eps) - f(x - eps)) / (2 * eps)


def derivative(rule):
  """f' from its rule: the cotangent 1 at every element."""
  return lambda x: rule(x, d_out=jnp.ones_like(x))


def test_the_derivative_of_softplus_is_the_logistic_function(run):
  """Final exam of January 25, 2023, part 1, question 1: log(1 + e^t) has the derivative s(t).

  The other options are s (1 - s), s(-t) and softplus (1 - softplus).
  """
  d = run(derivative(activations.softplus_vjp))(jnp.asarray(POINTS))
  np.testing.assert_allclose(d, logistic(POINTS), rtol=1e-14)
  softplus, s = np.log1p(np.exp(POINTS)), logistic(POINTS)
  for wrong in (s * (1 - s), logistic(-POINTS), softplus * (1 - softplus)):
    assert np.abs(d - wrong).max() > 0.9


def test_the_derivative_of_tanh(run):
  """Final exam of February 26, 2022, part 1, question 1: 1 - tanh(s)^2.

  The other options are tanh (1 - tanh), which is the logistic function's form, and a step.
  """
  d = run(derivative(activations.tanh_vjp))(jnp.asarray(POINTS))
  t = np.tanh(POINTS)
  np.testing.assert_allclose(d, 1 - t**2, rtol=1e-14)
  np.testing.assert_allclose(d, differences(np.tanh, POINTS), rtol=1e-8)
  assert np.abs(d - t * (1 - t)).max() > 0.9
  assert np.abs(d - (POINTS > 0)).max() > 0.9


def log1p_relu_layer(kernel, h):
  """g(W h + b), g(z) = log(1 + relu(z))."""
  return jnp.log1p(jax.nn.relu(linear.apply(kernel, h)))


def test_the_gradient_below_a_layer_with_log_1_plus_relu(run):
  """Final exam of January 25, 2023, part 1, question 5: dL/dh below h' = g(W h + b).

  dL/dh = W^T (dL/dh' * 1(z > 0) / (1 + relu(z))). W multiplies a column from the left, so
  the kernel of dlx is W^T and the product with W^T is dlx's d_y kernel^T.
  """
  w = np.array([[1.0, -2, 0.5], [-1, 0.5, 1]])
  params = {"kernel": jnp.asarray(w.T), "bias": jnp.array([0.25, -0.5])}
  h, d_out = np.array([1.0, -0.5, 2]), jnp.array([0.7, -1.3])

  def below(h):
    z = linear.apply(params, h)
    d_z = activations.log1p_relu_vjp(z, d_out=d_out)
    return z, gradients.apply_vjp(params, h, d_out=d_z)[1]

  z, d_h = run(below)(jnp.asarray(h))
  np.testing.assert_allclose(z, [3.25, 0.25], rtol=1e-14)  # Both above the kink.
  by_hand = w.T @ (np.asarray(d_out) / (1 + np.array([3.25, 0.25])))
  np.testing.assert_allclose(d_h, by_hand, rtol=1e-14)
  shut = run(below)(jnp.array([-1.0, 0.5, -2]))
  assert (shut[0] < 0).all()
  np.testing.assert_array_equal(shut[1], 0)
  for wrong in (w.T @ d_out, w.T @ (d_out * (1 - log1p_relu_layer(params, h) ** 2))):
    assert np.abs(d_h - wrong).max() > 0.1


def test_the_derivative_at_the_kink_differs_between_exam_and_notes(run):
  """Erratum of that question: 1(z >= 0) gives 1 at z = 0, where the notes' relu has 0.

  There is none: the two sides have 0 and 1. dlx takes 0, as jax.nn.relu does, so only
  1(z > 0) gives its value everywhere.
  """
  z = jnp.asarray(POINTS)
  d = run(derivative(activations.log1p_relu_vjp))(z)
  relu = np.maximum(POINTS, 0)
  np.testing.assert_allclose(d, (POINTS > 0) / (1 + relu), rtol=1e-14)
  np.testing.assert_array_equal(d != (POINTS >= 0) / (1 + relu), POINTS == 0)
  with_jax = jax.vmap(jax.grad(lambda z: jnp.log1p(jax.nn.relu(z))))(z)
  np.testing.assert_allclose(d, with_jax, rtol=1e-14)


def graph(x):
  """y = exp(a + b) with a = x^2 and b = tanh x, and dy/dx by the chain rule."""
  y = jnp.exp(x * x + jnp.tanh(x))
  d_a = d_b = y
  return y, 2 * x * d_a + activations.tanh_vjp(x, d_out=d_b)


def test_the_derivative_of_a_graph_with_exp_and_tanh(run):
  """Final exam of February 10, 2023, part 1, question 4: dy/dx = (2x + 1 - tanh^2 x) y.

  dy/da = dy/db = exp(a + b) = y, da/dx = 2x, db/dx = 1 - tanh^2 x.
  """
  x = POINTS[1:-1]
  y, d_x = run(graph)(jnp.asarray(x))
  np.testing.assert_allclose(y, np.exp(x**2 + np.tanh(x)), rtol=1e-14)
  np.testing.assert_allclose(d_x, (2 * x + 1 - np.tanh(x) ** 2) * y, rtol=1e-14)
  np.testing.assert_allclose(
      d_x, differences(lambda x: np.exp(x**2 + np.tanh(x)), x), rtol=1e-8, atol=1e-9
  )


def test_the_derivative_of_the_graph_keeps_the_factor_y(run):
  """Erratum of that question. Three of the four options are in print, and none is right.

  They are 2x + 1 tanh^2 x, which without its lost minus sign or with it lacks the factor y,
  (2x + tanh x (1 tanh x)) y, which has lost one, too, and exp(i pi) + 1, which is 0.
  """
  x = np.array([-1.0, 0.25, 1])
  y, d_x = run(graph)(jnp.asarray(x))
  t = np.tanh(x)
  np.testing.assert_allclose(d_x, (2 * x + 1 - t**2) * y, rtol=1e-14)
  for option in (2 * x + t**2, 2 * x + 1 - t**2, (2 * x + t * t) * y, (2 * x + t * (1 - t)) * y, 0):
    assert np.abs(d_x - option).max() > 0.3


def test_one_small_logit_among_ten_thousand(run):
  """Final exam of February 10, 2023, part 1, question 5: p_1 = 1 / (1 + 9999 e).

  s_1 = 0 and the other 9,999 logits are 1. Not 0, not 1, and not 1/10000.
  """
  s = np.ones(10_000)
  s[0] = 0
  p = run(softmax.probabilities)(jnp.asarray(s))
  assert float(p[0]) == pytest.approx(1 / (1 + 9999 * np.e), rel=1e-12)
  assert float(p.sum()) == pytest.approx(1, rel=1e-12)
  assert float(p[0]) == pytest.approx(3.679e-5, abs=0.0005e-5)
