"""Gaussian naive Bayes against products of scipy's densities."""

import numpy as np
import pytest
from scipy import special, stats

from dlx.errors import UserError
from dlx.layers import linear
from dlx.models import gaussian_naive_bayes


def test_the_posterior_is_that_of_products_of_densities(x64):
  rng = np.random.default_rng(0)
  labels = np.repeat([0, 1, 2], [5, 20, 10])
  x = rng.normal(size=(35, 4)) * [1, 2, 0.1, 5] + rng.normal(size=(3, 4))[labels]
  params = gaussian_naive_bayes.fit(x, labels, 3, smoothing=0.0)
  groups = [x[labels == c] for c in range(3)]
  std = np.sqrt(np.mean(np.concatenate([g - g.mean(0) for g in groups]) ** 2, 0))
  joint = np.stack([
      np.log(len(g) / 35) + stats.norm.logpdf(x, g.mean(0), std).sum(1) for g in groups
  ], 1)  # fmt: skip
  found = special.softmax(linear.apply(params, x), 1)
  np.testing.assert_allclose(found, special.softmax(joint, 1), rtol=1e-9, atol=1e-12)


def test_a_feature_that_is_constant_in_each_class_decides(x64):
  x = np.array([[0.0, 1], [0, 2], [1, 1.5], [1, 2.5]])
  labels = np.array([0, 0, 1, 1])
  params = gaussian_naive_bayes.fit(x, labels, 2)
  scores = np.asarray(linear.apply(params, x))
  assert np.isfinite(scores).all() and (scores.argmax(1) == labels).all()


@pytest.mark.parametrize("x, labels, message", [
    (np.ones((4, 2)), [0, 0, 1, 1], "no feature varies within a class"),
    (np.arange(4.0)[:, None], [0, 0, 2, 2], "class 1 has no training example"),
])  # fmt: skip
def test_what_cannot_be_estimated_is_refused(x, labels, message):
  with pytest.raises(UserError, match=message):
    gaussian_naive_bayes.fit(x, np.array(labels), 3 if 2 in labels else 2)
