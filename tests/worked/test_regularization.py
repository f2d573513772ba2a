"""Penalties of weights and dropout, in the course notes and an exam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import penalties
from dlx.layers import losses
from dlx.layers.dropout import dropout
from dlx.models import summary
from dlx.training import proximal

pytestmark = pytest.mark.usefixtures("x64")


def weights():
  return [jnp.array([[3.0, -4.0]]), jnp.array([[1.0], [0.0]])]  # Two layers' matrices.


def test_the_l2_penalty_is_half_the_squared_norms(run):
  """Notes, Regularization: 1/2 sum_l |W_l|^2 = (9 + 16 + 1) / 2, derivative W: weight decay."""
  assert float(run(lambda w: losses.l2_penalty(w, 1.0))(weights())) == 13
  d_weights = run(
      lambda w: penalties.l2_penalty_vjp(w, d_out=jnp.asarray(1.0), weight=1.0)
  )(weights())
  for d_w, w in zip(d_weights, weights()):
    np.testing.assert_array_equal(d_w, w)


def test_the_l1_penalty_adds_absolute_values(run):
  """Erratum of the notes, Regularization: L1 is printed sum_l |W_l| with the norm of L2.

  The norm that makes weights sparse is sum |w|: 3 + 4 + 1 = 8. The norms as used for L2
  give 5 + 1 = 6, and do not pull every weight by the same amount.
  """
  assert float(run(lambda w: losses.l1_penalty(w, 1.0))(weights())) == 8
  printed = sum(np.linalg.norm(w) for w in weights())
  assert printed == 6
  d_weights = run(
      lambda w: penalties.l1_penalty_vjp(w, d_out=jnp.asarray(1.0), weight=1.0)
  )(weights())
  np.testing.assert_array_equal(d_weights[0], [[1, -1]])
  np.testing.assert_array_equal(d_weights[1], [[1], [0]])


def test_dropout_drops_with_probability_p_and_scales_by_one_over_1_minus_p(run):
  """Final exam of February 12, 2022, part 2, question 1; erratum of the notes, Regularization.

  The notes call p the probability of dropping a neuron and, two lines on, of keeping it
  (a mask that is 1 with probability p); the first is right. The notes also leave out the
  scale 1/(1 - p) of the exam's solution, without which the expected activation is not kept.
  """
  p, ones = 0.2, jnp.ones(10_000)
  y = run(lambda rng: dropout(rng, ones, rate=p))(jax.random.key(0))
  kept = y != 0
  # The share has a standard deviation of 0.004.
  assert float(kept.mean()) == pytest.approx(1 - p, abs=0.02)
  assert abs(float(kept.mean()) - p) > 0.5
  np.testing.assert_allclose(y[kept], 1 / (1 - p), rtol=1e-12)
  assert float(y.mean()) == pytest.approx(1, abs=0.025)
  assert abs(float(kept.mean()) - 1) > 0.15  # The mask alone, as printed.


def minus_log_posterior(w, y, scale):
  """- log p(w | y) but for a constant, for x = 2: noise N(0, 1/4), prior Laplace(0, scale)."""
  return losses.squared_error(2 * w, y) / (2 * 0.5**2) + losses.l1_penalty(w, 1 / scale)


def with_gaussian_prior(w, y, scale):
  return losses.squared_error(2 * w, y) / (2 * 0.5**2) + losses.l2_penalty(w, 1 / scale**2)


def test_a_laplace_prior_is_an_l1_penalty(run):
  """Notes, Regularization, L1: equivalent to a Laplace prior on the weights.

  p(w) = exp(-|w| / b) / (2 b) gives the penalty lambda |w| / s^2 with lambda = s^2 / b. For one
  example y = w x the maximum a posteriori is the soft threshold
  w = sign(x y) max(|x y| - lambda, 0) / x^2; for x = 2, y = 1.3, s = 1/2, b = 1 it is
  (2.6 - 0.25) / 4 = 0.5875 instead of 0.65. A small |x y| gives exactly 0, which no Gaussian
  prior does: that is sparsity.
  """
  grid = np.arange(-800, 801) / 800  # Has 0.5875 in it.
  posterior = run(jax.vmap(minus_log_posterior, (0, None, None)))
  slope_at_zero = run(jax.grad(with_gaussian_prior))
  cases = [(1.3, 1.0, 0.5875), (-1.3, 1.0, -0.5875), (0.1, 1.0, 0.0), (1.3, 0.05, 0.0)]
  for y, scale, best in cases:
    log_p = -np.abs(grid) / scale - (y - 2 * grid) ** 2 / (2 * 0.5**2)
    assert grid[np.argmax(log_p)] == best
    threshold = run(proximal.soft_threshold)(jnp.asarray(2 * y), 0.5**2 / scale)
    assert float(threshold) / 2**2 == pytest.approx(best, abs=1e-12)
    found = posterior(grid[:, None], jnp.array([y]), scale)
    np.testing.assert_allclose(found, -log_p, rtol=1e-12)
    slope = slope_at_zero(jnp.zeros(1), jnp.array([y]), scale)
    np.testing.assert_allclose(slope, -2 * y / 0.5**2, rtol=1e-12)  # So w = 0 is not best.


def test_the_penalty_of_two_hidden_layers_has_three_matrices(run):
  """Erratum of the notes, Feed-forward networks: L hidden layers, W^(1) to W^(L), f = h^(L).

  The output layer has weights, too: f is W^(L+1) h^(L) + b, as the sums of the penalties, which
  run to L + 1, have it. Without the last matrix its weights would not decay.
  """
  layers = [summary.linear(5), summary.linear(3), summary.linear(2)]  # L = 2.
  rows = summary.of_layers(layers, (4,)).rows
  assert [row.weights for row in rows] == [4 * 5, 5 * 3, 3 * 2]
  rng = np.random.default_rng(0)
  kernels = [rng.normal(size=s) for s in ((4, 5), (5, 3), (3, 2))]
  squares = [float((kernel**2).sum()) / 2 for kernel in kernels]
  value, slopes = run(jax.value_and_grad(lambda w: losses.l2_penalty(w, 1.0)))(kernels)
  assert float(value) == pytest.approx(sum(squares), rel=1e-12)
  np.testing.assert_array_equal(slopes[2], kernels[2])
  assert float(value) - sum(squares[:2]) > 0.5
