"""Weights of mixtures: the maximum of the likelihood, against a grid and its conditions."""

import numpy as np
import pytest

from dlx.metrics import mixture

RNG = np.random.default_rng(0)
LOG_P = np.log(RNG.beta(0.5, 2.0, (500, 3)) + 1e-6)


def test_the_weights_of_two_models_are_those_of_a_grid():
  p, grid = np.exp(LOG_P[:, :2]), np.linspace(0, 1, 2001)
  likelihoods = [np.log(w * p[:, 0] + (1 - w) * p[:, 1]).mean() for w in grid]
  weights = mixture.fit(LOG_P[:, :2])
  assert weights[0] == pytest.approx(grid[np.argmax(likelihoods)], abs=1e-3)
  assert mixture.loss(LOG_P[:, :2], weights) == pytest.approx(-max(likelihoods), abs=1e-6)


def test_at_the_maximum_no_weight_can_gain():
  """Mean of p_k / p is 1 where w_k > 0, and at most 1 elsewhere."""
  worse = LOG_P[:, :1] - 1.0  # Never better than the first one.
  log_p = np.concatenate([LOG_P, worse], 1)
  weights = mixture.fit(log_p, tolerance=1e-13)
  ratios = (np.exp(log_p) / (np.exp(log_p) @ weights)[:, None]).mean(0)
  np.testing.assert_allclose(ratios[:3], 1, atol=1e-3)
  assert ratios[3] < 1 and weights[3] < 1e-6
  assert weights.sum() == pytest.approx(1) and (weights >= 0).all()


def test_one_step_by_hand():
  log_p = np.log([[0.5, 0.1], [0.2, 0.2]])
  # (0.5 / 0.6 + 1 / 2) / 2 from equal weights.
  np.testing.assert_allclose(mixture.fit(log_p, max_iterations=1), [2 / 3, 1 / 3])
  expected = -(np.log(0.5 * 2 / 3 + 0.1 / 3) + np.log(0.2)) / 2
  assert mixture.loss(log_p, np.array([2 / 3, 1 / 3])) == pytest.approx(expected)


def test_tiny_probabilities_do_not_underflow():
  shifted = LOG_P - 1000.0
  np.testing.assert_allclose(mixture.fit(shifted), mixture.fit(LOG_P), rtol=1e-6)
  assert mixture.loss(shifted, np.ones(3) / 3) == pytest.approx(
      mixture.loss(LOG_P, np.ones(3) / 3) + 1000
  )


def test_no_tokens_are_refused():
  with pytest.raises(ValueError, match="log_p: expected tokens of one or more models"):
    mixture.fit(np.zeros((0, 2)))
