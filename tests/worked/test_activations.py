"""Activations in the course notes: functions, derivatives and ranges."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import activations, softmax
from dlx.layers import linear

pytestmark = pytest.mark.usefixtures("x64")

Z = np.array([-3.0, -0.5, 0.0, 0.7, 4.0])


def slope(run, rule):
  """The derivative at Z by dlx's rule: the cotangent of one."""
  return run(lambda z: rule(z, d_out=jnp.ones_like(z)))(jnp.asarray(Z))


def difference(function, h=1e-5):
  """The derivative at Z by a central difference."""
  return (function(Z + h) - function(Z - h)) / (2 * h)


def logistic(z):
  return 1 / (1 + np.exp(-z))


def test_the_derivative_of_the_logistic_function(run):
  """Notes, Neural networks, Sigmoid: s(z) (1 - s(z)).

  Erratum: the minus sign is lost in print; s(z) (1 s(z)) is the square of s.
  """
  s = logistic(Z)
  derivative = slope(run, activations.sigmoid_vjp)
  np.testing.assert_allclose(derivative, s * (1 - s), rtol=1e-12)
  np.testing.assert_allclose(derivative, difference(logistic), rtol=1e-8)
  assert np.abs(derivative - s * s)[Z != 0].min() > 0.04


def test_the_derivative_of_the_rectifier(run):
  """Notes, Neural networks, ReLU: 1 for z > 0 and 0 for z <= 0.

  At 0 it has no derivative, as the notes say; 0 is the value they and dlx take there.
  """
  derivative = slope(run, activations.relu_vjp)
  np.testing.assert_array_equal(derivative, [0, 0, 0, 1, 1])
  sides = [float(jax.nn.relu(h)) / h for h in (1e-3, -1e-3)]
  assert sides == [1, 0]


def test_the_hyperbolic_tangent_and_its_derivative(run):
  """Notes, Neural networks, Tanh: (e^z - e^-z) / (e^z + e^-z), derivative 1 - tanh^2.

  Erratum: both minus signs are lost in print; e^z e^-z / (e^z + e^-z) is 1 / (2 cosh z)
  and 1 tanh^2 is tanh^2.
  """
  t = run(jnp.tanh)(jnp.asarray(Z))
  np.testing.assert_allclose(t, (np.exp(Z) - np.exp(-Z)) / (np.exp(Z) + np.exp(-Z)), rtol=1e-12)
  printed = np.exp(Z) * np.exp(-Z) / (np.exp(Z) + np.exp(-Z))
  assert np.abs(t - printed).min() > 0.1
  derivative = slope(run, activations.tanh_vjp)
  np.testing.assert_allclose(derivative, 1 - t**2, rtol=1e-12)
  np.testing.assert_allclose(derivative, difference(np.tanh), rtol=1e-7)
  assert np.abs(derivative - t**2).min() > 0.1


def test_the_derivative_of_softmax_is_a_matrix(run):
  """Erratum of the notes, Neural networks, Softmax: d softmax(z)_i = p_i (1 - p_i) is half of it.

  That is the diagonal (its minus sign is lost in print, too). Every p_i depends on every
  z_j: off the diagonal it is -p_i p_j, as "Modern architecture", question 8 b, has it.
  """
  z = jnp.array([1.0, -0.5, 2.0])
  p = np.exp(z) / np.exp(z).sum()
  jacobian = run(softmax.softmax_jacobian)(z)
  np.testing.assert_allclose(jacobian, np.diag(p) - np.outer(p, p), rtol=1e-12)
  printed = np.diag(p * (1 - p))
  np.testing.assert_allclose(np.diag(jacobian), np.diag(printed), rtol=1e-12)
  assert np.abs(jacobian - printed).max() > 0.1
  np.testing.assert_allclose(jacobian.sum(0), 0, atol=1e-15)
  assert np.abs(printed.sum(0)).min() > 0.01


def test_softmax_is_not_elementwise(run):
  """Erratum of the notes, Algorithmic complexities: softmax is listed among elementwise functions.

  Raising one entry of a row lowers the others. (The cost O(N M) is right.)
  """
  m = jnp.array([[1.0, 2, 3], [0, 0, 0]])
  probabilities = run(softmax.probabilities)
  p, raised = probabilities(m), probabilities(m.at[0, 0].add(1))
  assert (raised[0, 1:] < p[0, 1:]).all()
  np.testing.assert_array_equal(raised[1], p[1])
  d_p = jnp.zeros((2, 3)).at[0, 0].set(1)  # The gradient of one entry, p_0.
  d_m = run(lambda m: softmax.softmax_vjp(m, d_out=d_p))(m)
  np.testing.assert_allclose(d_m[0], p[0, 0] * (np.eye(3)[0] - p[0]), rtol=1e-12)
  np.testing.assert_array_equal(d_m[1], 0)
  of_sigmoid = run(lambda m: activations.sigmoid_vjp(m, d_out=d_p))(m)
  assert np.count_nonzero(d_m) == 3 and np.count_nonzero(of_sigmoid) == 1


def test_the_ends_of_the_ranges_are_never_reached(run):
  """Erratum of the notes, Neural networks and Logistic regression: ranges [0, 1] and [-1, 1].

  The logistic function and tanh lie strictly between: (0, 1) and (-1, 1). The reciprocals
  of the distances to the ends are finite: 1 / s(z) = 1 + e^-z, 1 / (1 - s(z)) = 1 + e^z.
  """
  z = jnp.array([-30.0, 30.0])
  s, t = run(jax.nn.sigmoid)(z), run(jnp.tanh)(z / 2)
  assert (s > 0).all() and (s < 1).all() and (t > -1).all() and (t < 1).all()
  np.testing.assert_allclose(1 / s, 1 + np.exp(-z), rtol=1e-12)
  np.testing.assert_allclose(t, 2 * s - 1, rtol=1e-12)


def test_sigmoids_saturate_and_rectifiers_do_not(run):
  """Notes, Neural networks: far out the gradient of a sigmoid is residual, that of ReLU 1."""
  z = jnp.array([10.0, 20.0])
  ones = jnp.ones(2)
  d_sigmoid = run(lambda z: activations.sigmoid_vjp(z, d_out=ones))(z)
  d_relu = run(lambda z: activations.relu_vjp(z, d_out=ones))(z)
  np.testing.assert_allclose(d_sigmoid, np.exp(-z), rtol=1e-4)
  np.testing.assert_array_equal(d_relu, 1)


def test_a_polynomial_activation_approximates_polynomials_only(run):
  """Erratum of the notes, Feed-forward networks: not every non-linear activation is universal.

  With z^2, one hidden layer of any width gives a polynomial of degree 2 in x, whose third
  differences are 0; x^3 has 6 h^3. The theorem needs an activation that is no polynomial,
  and approximates continuous functions on a bounded region, not any function.
  """
  rng = np.random.default_rng(0)
  hidden = {"kernel": rng.normal(size=(1, 500)), "bias": rng.normal(size=500)}
  out = {"kernel": rng.normal(size=(500, 1)) / 500}
  x = np.linspace(-2, 2, 9)[:, None]

  def network(activation):
    return run(lambda x: linear.apply(out, activation(linear.apply(hidden, x)))[:, 0])(x)

  np.testing.assert_allclose(np.diff(network(jnp.square), 3), 0, atol=1e-12)
  assert np.abs(np.diff(network(jnp.tanh), 3)).max() > 1e-3
  np.testing.assert_allclose(np.diff(x[:, 0] ** 3, 3), 6 * 0.5**3, rtol=1e-9)
