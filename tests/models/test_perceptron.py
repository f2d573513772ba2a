"""The perceptron against loops, the bound of its mistakes, and XOR."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

from dlx.errors import UserError
from dlx.models import perceptron, polynomial


@pytest.fixture(params=["eager", "jit"])
def compile_(request, x64):
  return jax.jit if request.param == "jit" else lambda function: function


def binary_by_hand(x, y, passes, average=False):
  """(w, b, mistakes of each pass) in loops."""
  w, b, mistakes, visited = np.zeros(x.shape[1]), 0.0, [], []
  for _ in range(passes):
    mistakes.append(0)
    for phi, sign in zip(x, y):
      if sign * (w @ phi + b) <= 0:
        w, b, mistakes[-1] = w + sign * phi, b + sign, mistakes[-1] + 1
      visited.append((w, b))
  if average:
    w, b = (np.mean([each[i] for each in visited], 0) for i in range(2))
  return w, b, mistakes


def classes_by_hand(x, y, num_classes, passes, average=False):
  w, mistakes, visited = np.zeros((num_classes, x.shape[1])), [], []
  for _ in range(passes):
    mistakes.append(0)
    for phi, label in zip(x, y):
      predicted = int(np.argmax(w @ phi))
      if predicted != label:
        w = w.copy()
        w[label] += phi
        w[predicted] -= phi
        mistakes[-1] += 1
      visited.append(w)
  return np.mean(visited, 0) if average else w, mistakes


def overlapping(count=40, num_classes=2, seed=0):
  rng = np.random.default_rng(seed)
  labels = rng.integers(0, num_classes, count)
  return rng.normal(size=(count, 3)) + np.eye(num_classes, 3)[labels], labels


@pytest.mark.parametrize("average", [False, True])
def test_two_classes_are_those_of_a_loop(compile_, average):
  x, labels = overlapping()
  y = 2.0 * labels - 1
  fit = lambda x: perceptron.binary(perceptron.zeros(3, 1), x, y, passes=4, average=average)  # noqa: E731
  found = compile_(fit)(jnp.asarray(x))
  w, b, mistakes = binary_by_hand(x, y, 4, average)
  np.testing.assert_allclose(found.params["kernel"][:, 0], w, atol=1e-12)
  np.testing.assert_allclose(found.params["bias"], [b], atol=1e-12)
  assert found.mistakes.tolist() == mistakes and mistakes[-1] > 0


@pytest.mark.parametrize("average", [False, True])
def test_several_classes_are_those_of_a_loop(compile_, average):
  x, labels = overlapping(num_classes=3)
  x = np.c_[x, np.ones(len(x))]  # The bias as a feature.
  fit = lambda x: perceptron.multi_class(  # noqa: E731
      perceptron.zeros(3, 3), x[:, :3], jnp.asarray(labels), passes=4, average=average
  )
  found = compile_(fit)(jnp.asarray(x))
  w, mistakes = classes_by_hand(x, labels, 3, 4, average)
  np.testing.assert_allclose(found.params["kernel"], w[:, :3].T, atol=1e-12)
  np.testing.assert_allclose(found.params["bias"], w[:, 3], atol=1e-12)
  assert found.mistakes.tolist() == mistakes and mistakes[-1] > 0


def test_scaled_inputs_make_the_same_mistakes_from_zero_weights(compile_):
  x, labels = overlapping(num_classes=3)
  fit = lambda x: perceptron.multi_class(  # noqa: E731
      perceptron.zeros(3, 3, bias=False), x, jnp.asarray(labels), passes=5
  )
  one, scaled = (compile_(fit)(c * jnp.asarray(x)) for c in (1.0, 8.0))
  np.testing.assert_array_equal(one.mistakes, scaled.mistakes)
  np.testing.assert_array_equal(8 * one.params["kernel"], scaled.params["kernel"])


def separable(seed, margin=0.1):
  rng = np.random.default_rng(seed)
  x, u = rng.normal(size=(200, 3)), np.array([0.6, -0.48, 0.64])
  far = np.abs(x @ u) > margin
  return x[far][:30], np.sign(x[far][:30] @ u)


@pytest.mark.parametrize("seed", range(3))
def test_the_bound_is_that_of_the_largest_margin_and_holds(x64, seed):
  """Against SLSQP on min |w|^2 / 2 with y w x >= 1."""
  x, y = separable(seed)
  w = perceptron.best_separator(x, y)
  constraint = {"type": "ineq", "fun": lambda v: y * (x @ v) - 1}
  other = optimize.minimize(
      lambda v: v @ v / 2, 5 * w + 1, constraints=constraint, options={"ftol": 1e-14}
  )
  np.testing.assert_allclose(w, other.x, rtol=1e-5)
  bound = perceptron.mistake_bound(x, y)
  margin = (y * (x @ w)).min() / np.linalg.norm(w)
  assert bound == pytest.approx(((x**2).sum(1).max() ** 0.5 / margin) ** 2, rel=1e-9)
  found = perceptron.binary(perceptron.zeros(3, 1, bias=False), x, y, passes=100)
  assert 0 < found.mistakes.sum() <= bound and found.mistakes[-1] == 0
  assert perceptron.mistake_bound(1e-6 * x, y) == pytest.approx(bound, rel=1e-6)


def test_the_bound_of_several_classes_is_that_of_differences(x64):
  rng = np.random.default_rng(0)
  labels = np.arange(30) % 3
  x = np.c_[rng.uniform(-0.5, 0.5, (30, 2)) + 2 * np.eye(3, 2)[labels], np.ones(30)]
  rows = perceptron.class_differences(x, labels, 3)
  assert rows.shape == (60, 9)
  w = rng.normal(size=(3, 3))
  scores = x @ w.T
  expected = [
      row[label] - row[c] for row, label in zip(scores, labels) for c in range(3) if c != label
  ]
  np.testing.assert_allclose(rows @ w.ravel(), expected, atol=1e-12)
  found = perceptron.multi_class(perceptron.zeros(3, 3, bias=False), x, labels, passes=200)
  bound = perceptron.mistake_bound(rows, np.ones(60))
  assert 0 < found.mistakes.sum() <= bound and found.mistakes[-1] == 0


CORNERS = np.array([[-1.0, -1], [-1, 1], [1, -1], [1, 1]])
XOR = np.array([-1.0, 1, 1, -1])


def test_xor_has_no_bound_and_never_ends_but_with_the_product_it_does(x64):
  with pytest.raises(UserError, match="separates the two classes of the 4 examples"):
    perceptron.mistake_bound(np.c_[CORNERS, np.ones(4)], XOR)
  found = perceptron.binary(perceptron.zeros(2, 1), CORNERS, XOR, passes=50)
  assert (found.mistakes > 0).all()
  phi = polynomial.features(CORNERS, polynomial.monomials(2, 2, squares=False))
  found = perceptron.binary(perceptron.zeros(3, 1), phi, XOR, passes=50)
  bound = perceptron.mistake_bound(np.c_[phi, np.ones(4)], XOR)
  assert found.mistakes[-1] == 0 and found.mistakes.sum() <= bound == pytest.approx(4)


@pytest.mark.parametrize("x, y", [
    ([[1.0], [2.0]], [1, -1]),  # On one side of 0.
    ([[0.0, 0], [1, 1]], [1, 1]),  # A point at 0 has no margin.
    ([[0.0, 0]], [1]),
])  # fmt: skip
def test_examples_that_nothing_separates_are_refused(x, y):
  with pytest.raises(UserError, match="give separable data"):
    perceptron.mistake_bound(np.array(x), np.array(y))
