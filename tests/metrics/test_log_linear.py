"""Weights of a log-linear pool, against a grid, a temperature and hand-made classifiers."""

import numpy as np
import pytest

from dlx.metrics import log_linear

RNG = np.random.default_rng(0)
LABELS = RNG.integers(3, size=400)


def classifier(strength, seed):
  """Logits that lean towards the label by `strength`, with noise of variance 1."""
  noise = np.random.default_rng(seed).normal(size=(len(LABELS), 3))
  return noise + strength * np.eye(3)[LABELS]


def objective(log_p, weights):
  z = np.tensordot(weights, log_p, 1)
  log_z = np.log(np.exp(z).sum(-1))
  likelihood = (z[np.arange(len(z)), LABELS] - log_z).sum()
  return -likelihood + ((np.asarray(weights) - 1 / len(weights)) ** 2).sum() / 2


def test_the_weights_minimize_the_objective():
  log_p = np.stack([classifier(2, 1), classifier(0.5, 2)])
  found = log_linear.fit(log_p, LABELS)
  grid = np.linspace(-0.5, 3, 71)
  values = [[objective(log_p, (a, b)) for b in grid] for a in grid]
  i, j = np.unravel_index(np.argmin(values), (71, 71))
  np.testing.assert_allclose(found, [grid[i], grid[j]], atol=0.03)
  assert objective(log_p, found) <= np.min(values) + 1e-6
  # Gaussians of equal variance: the posterior is log-linear with the distances as weights.
  np.testing.assert_allclose(found, [2, 0.5], atol=0.3)


def test_shifts_of_logits_change_nothing():
  log_p = np.stack([classifier(2, 1), classifier(1, 2)])
  shifted = log_p + RNG.normal(size=(2, len(LABELS), 1))
  expected = log_linear.fit(log_p, LABELS)
  np.testing.assert_allclose(log_linear.fit(shifted, LABELS), expected, atol=1e-4)
  np.testing.assert_allclose(log_linear.fit(np.float32(log_p), LABELS), expected, atol=1e-4)


def test_a_classifier_without_information_gets_no_weight_and_an_overconfident_one_less():
  good, noise = classifier(2, 1), classifier(0, 2)
  weights = log_linear.fit(np.stack([good, noise]), LABELS)
  assert weights[0] > 1.5 and abs(weights[1]) < 0.3
  single, sharp = (log_linear.fit(z[None], LABELS)[0] for z in (good, 4 * good))
  assert sharp == pytest.approx(single / 4, rel=0.02)


def test_classifiers_that_are_always_right_keep_finite_weights():
  sure = 100.0 * np.eye(3)[LABELS]
  weights = log_linear.fit(np.stack([sure, sure]), LABELS)
  np.testing.assert_allclose(weights, 0.5, atol=0.01)


def test_invalid_input_is_reported():
  with pytest.raises(ValueError, match="expected examples of classifiers"):
    log_linear.fit(np.zeros((2, 0, 3)), LABELS)
  with pytest.raises(ValueError, match=r"labels: expected shape \(5,\), got \(400,\)"):
    log_linear.fit(np.zeros((2, 5, 3)), LABELS)
