"""Two classes: the boundary of logistic regression, and the discriminator of a GAN."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as linear_gradients
from dlx.gradients import losses as gradients
from dlx.layers import linear, losses

pytestmark = pytest.mark.usefixtures("x64")

W, B = np.array([1.0, -2.0, 0.5]), 1.5


def probability(x, w=W, b=B):
  """P(y = +1 | x) = s(w x + b) of the rows of x (N, D)."""
  return jax.nn.sigmoid(linear.apply({"kernel": w[:, None], "bias": jnp.full(1, b)}, x)[:, 0])


def test_the_boundary_of_a_linear_classifier_is_a_hyperplane(run):
  """Final exam of February 26, 2022, part 1, question 5: where the probability is 1/2.

  The boundary is the point -b w / |w|^2, and from it every direction that is orthogonal to w,
  a space of D - 1 dimensions; a step along w leaves it, on the side that the step's sign says.
  """
  foot = -B * W / (W @ W)
  directions = np.linalg.svd(W[None])[2][1:]  # An orthonormal basis of the space w x = 0.
  assert directions.shape == (2, 3)
  on = foot + np.random.default_rng(0).normal(size=(50, 2)) * 3 @ directions
  p = run(probability)
  np.testing.assert_allclose(p(on), 0.5, rtol=1e-14)
  distance = np.array([-2.0, -0.1, 0.1, 2.0])
  off = on[:4] + distance[:, None] * W / np.linalg.norm(W)
  right = 1 / (1 + np.exp(-distance * np.linalg.norm(W)))  # The logit is |w| times the distance.
  np.testing.assert_allclose(p(off), right, rtol=1e-12)


def test_in_the_space_of_the_inputs_the_boundary_may_be_curved(run):
  """The same question says "in feature space": with the features x^2 it is a circle in x.

  w = [1 1] and b = -4 on the squares have the boundary |x| = 2.
  """
  angle = np.linspace(0, 2 * np.pi, 12)
  circle = 2 * np.stack([np.cos(angle), np.sin(angle)], -1)
  p = run(lambda x: probability(x**2, np.ones(2), -4.0))
  np.testing.assert_allclose(p(circle), 0.5, rtol=1e-14)
  assert (p(1.1 * circle) > 0.6).all() and (p(0.9 * circle) < 0.4).all()


def test_logistic_regression_is_not_the_perceptron(run):
  """Final exam of February 26, 2022, part 1, question 5: the false statement.

  The perceptron leaves its weights at an example that is classified correctly; the gradient of
  the cross-entropy, (s - y) x, never vanishes.
  """
  x, y = jnp.array([2.0, -1.0, 1.0]), jnp.ones(1)
  params = {"kernel": jnp.asarray(W)[:, None], "bias": jnp.full(1, B)}

  def gradient(x):
    d_z, _ = gradients.binary_cross_entropy_vjp(linear.apply(params, x), y, d_out=jnp.asarray(1.0))
    return linear_gradients.apply_vjp(params, x, d_out=d_z)[0]["kernel"][:, 0]

  score = W @ np.asarray(x) + B
  assert score > 0  # Correct for y = +1.
  np.testing.assert_allclose(run(gradient)(x), (1 / (1 + np.exp(-score)) - 1) * x, rtol=1e-10)
  assert np.abs(run(gradient)(x)).min() > 1e-3


DATA = np.array([0.5, 0.25, 0.125, 0.125])  # p and q, the distributions of the data and of the
GENERATED = np.array([0.1, 0.2, 0.3, 0.4])  # generator over four points.


def discriminator_loss(logits):
  """Minus E_p log D(x) - E_q log(1 - D(x)), D = s(logits): a sum of two cross-entropies."""
  d_data = jax.vmap(losses.binary_cross_entropy)(logits, jnp.ones(4))
  d_generated = jax.vmap(losses.binary_cross_entropy)(logits, jnp.zeros(4))
  return DATA @ d_data + GENERATED @ d_generated


def test_the_best_discriminator_of_a_gan_tells_the_two_distributions_apart(run):
  """Final exam of February 26, 2022, part 1, question 6: max_D E_p log D + E_q log(1 - D).

  That is binary cross-entropy with the label 1 for data and 0 for what the generator made, with
  the sign changed. Its maximum is at D = p / (p + q), the logit log p / q, and has the value
  2 JS(p, q) - log 4. A generator that is right, q = p, makes D = 1/2 and the value - log 4.
  """
  best = jnp.log(DATA / GENERATED)
  value, slope = run(jax.value_and_grad(discriminator_loss))(best)
  np.testing.assert_allclose(slope, 0, atol=1e-15)
  middle = (DATA + GENERATED) / 2
  divergence = sum(p @ np.log(p / middle) / 2 for p in (DATA, GENERATED))
  assert -float(value) == pytest.approx(2 * divergence - np.log(4), rel=1e-12)
  d = DATA / (DATA + GENERATED)
  assert -float(value) == pytest.approx(DATA @ np.log(d) + GENERATED @ np.log(1 - d), rel=1e-12)
  others = best + np.random.default_rng(0).normal(size=(50, 4))
  assert (run(jax.vmap(discriminator_loss))(others) > value).all()


def test_a_right_generator_leaves_the_discriminator_at_one_half(run):
  """The same question: with q = p every logit's gradient is p (2 D - 1), zero at D = 1/2."""
  logits = jnp.array([0.0, 1.0, -2.0, 0.5])

  def loss(logits):
    pairs = (jax.vmap(losses.binary_cross_entropy)(logits, jnp.full(4, y)) for y in (0.0, 1.0))
    return DATA @ sum(pairs)

  slope = run(jax.grad(loss))(logits)
  np.testing.assert_allclose(slope, DATA * (2 / (1 + np.exp(-logits)) - 1), atol=1e-15)
  assert float(run(loss)(jnp.zeros(4))) == pytest.approx(np.log(4), rel=1e-14)
