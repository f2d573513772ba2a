"""Mistakes of the perceptron: on scaled inputs, their bound, and of several classes."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import perceptron

pytestmark = pytest.mark.usefixtures("x64")


def separable(seed):
  """Twelve points, none nearer than 0.1 to the line that separates them, and their signs."""
  rng = np.random.default_rng(seed)
  x = rng.normal(size=(100, 2))
  margin = x @ np.array([0.6, -0.8])
  far = np.abs(margin) > 0.1
  return x[far][:12], np.sign(margin[far][:12])


def train(w, x, y, passes=30):
  """(w, mistakes of each pass) of the perceptron without a bias, from the weights w."""
  found = perceptron.binary({"kernel": w[:, None]}, x, y, passes=passes)
  return found.params["kernel"][:, 0], found.mistakes


@pytest.mark.parametrize("seed", [1, 2, 4])
def test_doubled_inputs_cause_as_many_mistakes(run, seed):
  """Final exam of January 25, 2023, part 1, question 3: x and 2x make the same mistakes.

  That is, from zero weights: those on 2x are twice those on x at every moment, so all signs agree.
  """
  x, y = separable(seed)
  w, mistakes = run(train)(jnp.zeros(2), x, y)
  w_2, mistakes_2 = run(train)(jnp.zeros(2), 2 * x, y)
  assert mistakes.sum() > 1 and mistakes[-1] == 0  # It converged.
  np.testing.assert_array_equal(mistakes_2, mistakes)
  np.testing.assert_array_equal(w_2, 2 * w)
  assert (np.sign(x @ np.asarray(w)) == y).all()


def test_from_other_weights_the_mistakes_differ(run):
  """The same question: the argument needs weights that start at zero."""
  x, y = separable(0)
  start = 5 * (x * -y[:, None]).mean(0)  # Wrong for most.
  _, mistakes = run(train)(start, x, y)
  _, mistakes_2 = run(train)(start, 2 * x, y)
  assert mistakes[-1] == mistakes_2[-1] == 0
  assert mistakes_2.sum() < mistakes.sum()


@pytest.mark.parametrize("seed", [0, 1, 3])
def test_the_mistakes_are_bounded_by_radius_and_margin(run, seed):
  """Notes, Perceptron: it converges in a finite number of steps on separable data.

  Novikoff: at most (R / gamma)^2 mistakes, R the length of the longest x and gamma the margin
  y u x of any unit vector u that separates them. Each mistake adds at least gamma to u w and at
  most R^2 to |w|^2. The bound is that of the best of 3,600 directions.
  """
  x, y = separable(seed)
  w, mistakes = run(train)(jnp.zeros(2), x, y)
  angle = np.linspace(0, 2 * np.pi, 3600)
  margin = (y[:, None] * x @ np.stack([np.cos(angle), np.sin(angle)])).min(0).max()
  radius = np.linalg.norm(x, axis=1).max()
  assert margin >= 0.1
  assert perceptron.mistake_bound(x, y) == pytest.approx((radius / margin) ** 2, rel=1e-2)
  assert perceptron.mistake_bound(x, y) <= (radius / margin) ** 2  # The best of all directions.
  assert 0 < mistakes.sum() <= (radius / margin) ** 2
  assert mistakes.sum() * margin <= np.linalg.norm(w) <= np.sqrt(mistakes.sum()) * radius
  if mistakes[-1] == 0:
    assert (y * (x @ w) > 0).all()


def by_hand(x, y, num_classes):
  """The notes' algorithm, in loops: W (C, D) and the number of mistakes, to its end."""
  w, mistakes = np.zeros((num_classes, x.shape[1])), 0
  while True:
    before = mistakes
    for phi, label in zip(x, y):
      predicted = int(np.argmax(w @ phi))
      if predicted != label:
        w[label] += phi
        w[predicted] -= phi
        mistakes += 1
    if mistakes == before:
      return w, mistakes


def test_the_multi_class_perceptron_ends_without_mistakes(run):
  """Notes, Multi-class classification: the algorithm, run until a pass has no mistake.

  Four classes of points around the corners of a square, with a constant feature. Updates add up
  to zero over the classes, so every column of W does.
  """
  rng = np.random.default_rng(0)
  corners = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])
  y = np.arange(40) % 4
  x = np.concatenate([corners[y] + rng.uniform(-0.6, 0.6, size=(40, 2)), np.ones((40, 1))], 1)
  start = perceptron.zeros(3, 4, bias=False)
  params, mistakes = run(lambda x, y: perceptron.multi_class(start, x, y, passes=30))(x, y)
  kernel = params["kernel"]
  w, total = by_hand(x, y, 4)
  assert mistakes[0] > 0 == mistakes[-1] and mistakes.sum() == total
  np.testing.assert_allclose(kernel.T, w, atol=1e-12)
  assert (np.argmax(x @ kernel, 1) == y).all()
  np.testing.assert_allclose(kernel.sum(1), 0, atol=1e-12)
