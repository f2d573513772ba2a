"""Rules of differentiation in the course notes, and a computation graph of an exam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import activations
from dlx.gradients import linear as gradients
from dlx.layers import linear

pytestmark = pytest.mark.usefixtures("x64")

A = np.array([[1.0, -2, 0.5], [3, 0, 1], [-1, 4, 2]])
X = np.array([0.3, -1.2, 2.0])
B = np.array([1.0, 0.5, -2.0])


def quadratic(x, a):
  """x^T A x: A x is dlx's linear map of x with the kernel A^T."""
  return x @ linear.apply({"kernel": a.T}, x)


def test_the_gradient_of_a_quadratic_form(run):
  """Notes, Gradient: grad x^T A x = (A + A^T) x.

  By the product rule x is a factor twice: A x from the first, and the rule of the linear
  map, A^T x, from the second.
  """
  x, a = jnp.asarray(X), jnp.asarray(A)
  _, through_map = gradients.apply_vjp({"kernel": a.T}, x, d_out=x)
  np.testing.assert_allclose(a @ x + through_map, (A + A.T) @ X, rtol=1e-12)
  np.testing.assert_allclose(run(jax.grad(quadratic))(x, a), (A + A.T) @ X, rtol=1e-12)


def test_the_gradient_of_a_symmetric_form_and_of_the_squared_norm(run):
  """Notes, Gradient: grad x^T A x = 2 A x when A is symmetric, grad x^T x = 2 x."""
  x, symmetric = jnp.asarray(X), jnp.asarray(A + A.T)
  gradient = run(jax.grad(quadratic))
  np.testing.assert_allclose(gradient(x, symmetric), 2 * symmetric @ x, rtol=1e-12)
  np.testing.assert_allclose(gradient(x, jnp.eye(3)), 2 * X, rtol=1e-12)
  assert np.abs(gradient(x, jnp.asarray(A)) - 2 * A @ X).max() > 1  # Not for any A.


def test_the_gradient_of_an_inner_product(run):
  """Notes, Gradient: grad x^T b = grad b^T x = b, and grad c = 0."""
  x, b = jnp.asarray(X), jnp.asarray(B)
  dot = run(lambda x, d: gradients.apply_vjp({"kernel": b[:, None]}, x, d_out=d)[1])
  np.testing.assert_array_equal(dot(x, jnp.ones(1)), B)
  np.testing.assert_array_equal(run(jax.grad(lambda x: jnp.dot(b, b)))(x), 0)


def test_the_gradient_after_a_matrix_and_after_a_number(run):
  """Notes, Gradient: f(A x) has the gradient A^T grad f(A x), f(a x) has a grad f(a x).

  With f the sum of tanh, grad f(z) = 1 - tanh(z)^2.
  """
  x, a = jnp.asarray(X), jnp.asarray(A)

  def pull_back(x, a):
    z = linear.apply({"kernel": a.T}, x)
    d_z = activations.tanh_vjp(z, d_out=jnp.ones_like(z))
    return gradients.apply_vjp({"kernel": a.T}, x, d_out=d_z)[1]

  right = A.T @ (1 - np.tanh(A @ X) ** 2)
  np.testing.assert_allclose(run(pull_back)(x, a), right, rtol=1e-12)
  of_f = run(jax.grad(lambda x: jnp.tanh(linear.apply({"kernel": a.T}, x)).sum()))
  np.testing.assert_allclose(of_f(x), right, rtol=1e-12)
  np.testing.assert_allclose(
      run(pull_back)(x, 3 * jnp.eye(3)), 3 * (1 - np.tanh(3 * X) ** 2), rtol=1e-10
  )


@pytest.mark.parametrize(
    ("function", "derivative"),
    [
        (lambda x: 7.0 + 0 * x, lambda x: 0),
        (lambda x: x**5, lambda x: 5 * x**4),
        (jnp.exp, np.exp),
        (jnp.log, lambda x: 1 / x),
        (jnp.sin, np.cos),
        (jnp.cos, lambda x: -np.sin(x)),
        (lambda x: jnp.sin(x**2), lambda x: np.cos(x**2) * 2 * x),
        (lambda x: jnp.sin(x) * x**2, lambda x: np.cos(x) * x**2 + np.sin(x) * 2 * x),
        (lambda x: jnp.sin(x) / x**2, lambda x: (np.cos(x) * x**2 - np.sin(x) * 2 * x) / x**4),
        (lambda x: x**2 + jnp.sin(x) + jnp.exp(x), lambda x: 2 * x + np.cos(x) + np.exp(x)),
        (
            lambda x: x**2 * jnp.sin(x) * jnp.exp(x),
            lambda x: np.exp(x) * (2 * x * np.sin(x) + x**2 * np.cos(x) + x**2 * np.sin(x)),
        ),
    ],
    ids=["c", "x^n", "exp", "log", "sin", "cos", "chain", "product", "quotient", "sum", "products"],
)
def test_the_list_of_derivative_rules(run, function, derivative):
  """Notes, Derivative rules, each for one example: f = sin x, g = x^2."""
  assert float(run(jax.grad(function))(1.3)) == pytest.approx(derivative(1.3), rel=1e-12)


def test_the_chain_rule_ends_with_the_inner_derivative(run):
  """Erratum of the notes, Derivative rules, second list: f'(g(x)) f'(x).

  It is f'(g(x)) g'(x), as the line above it says. Here f is the logistic function and
  g is tanh, through dlx's rules.
  """

  def chain(x):
    inner = activations.sigmoid_vjp(jnp.tanh(x), d_out=jnp.ones_like(x))
    return activations.tanh_vjp(x, d_out=inner)

  def logistic_slope(x):
    return np.exp(-x) / (1 + np.exp(-x)) ** 2

  x = 0.8
  right = logistic_slope(np.tanh(x)) * (1 - np.tanh(x) ** 2)
  assert float(run(chain)(jnp.asarray(x))) == pytest.approx(right, rel=1e-12)
  assert float(run(jax.grad(lambda x: jax.nn.sigmoid(jnp.tanh(x))))(x)) == pytest.approx(right)
  assert abs(right - logistic_slope(np.tanh(x)) * logistic_slope(x)) > 0.05


def test_the_quotient_rule_has_a_difference_above_the_bar(run):
  """Erratum of the notes, Derivative rules: the minus sign of f'g - fg' is lost in print.

  For tanh = sinh / cosh the difference cosh^2 - sinh^2 is 1; the product printed is not.
  """
  x, cosh, sinh = 0.8, np.cosh(0.8), np.sinh(0.8)
  slope = run(lambda x: activations.tanh_vjp(x, d_out=jnp.ones_like(x)))(jnp.asarray(x))
  assert float(slope) == pytest.approx((cosh * cosh - sinh * sinh) / cosh**2, rel=1e-12)
  assert abs(float(slope) - cosh * cosh * sinh * sinh / cosh**2) > 0.1


def test_the_derivative_of_a_computation_graph(run):
  """Final exam of February 12, 2022, part 1, question 7: y = a b.

  The graph is a figure; by the printed derivatives it is a = 3 x + s(x) and
  b = x^2 - e^-x (s logistic), so dy/dx = b (3 + s (1 - s)) + a (2 x + e^-x). The option
  with a and b exchanged is another number.
  """

  def backward(x):
    a, b = 3 * x + jax.nn.sigmoid(x), x**2 - jnp.exp(-x)
    d_a, d_b = b, a
    return 3 * d_a + activations.sigmoid_vjp(x, d_out=d_a) + d_b * (2 * x + jnp.exp(-x))

  x = 0.6
  s = 1 / (1 + np.exp(-x))
  a, b = 3 * x + s, x**2 - np.exp(-x)
  derivative = float(run(backward)(jnp.asarray(x)))
  assert derivative == pytest.approx(b * (3 + s * (1 - s)) + a * (2 * x + np.exp(-x)), rel=1e-12)
  y = lambda x: (3 * x + 1 / (1 + np.exp(-x))) * (x**2 - np.exp(-x))  # noqa: E731
  assert derivative == pytest.approx((y(x + 1e-6) - y(x - 1e-6)) / 2e-6, rel=1e-8)
  assert abs(derivative - (a * (3 + s * (1 - s)) + b * (2 * x + np.exp(-x)))) > 1


def test_inner_and_outer_products_are_matrix_products(run):
  """Notes, Algorithmic complexities: (1, D) (D, 1) is a number, (N, 1) (1, M) a matrix.

  The weight gradient of a linear layer for one example is such an outer product.
  """
  x, d_y = jnp.asarray(X), jnp.array([1.0, -1.0])
  inner = run(linear.apply)({"kernel": jnp.asarray(B)[:, None]}, x[None])
  np.testing.assert_allclose(inner, [[sum(X * B)]], rtol=1e-12)
  d_params, _ = run(lambda p, x, d: gradients.apply_vjp(p, x, d_out=d))(
      {"kernel": jnp.zeros((3, 2))}, x, d_y
  )
  np.testing.assert_array_equal(d_params["kernel"], X[:, None] @ np.array([[1.0, -1.0]]))
