"""Self-attention that copies, and the variance of its scores, from their definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import attention_copies

pytestmark = pytest.mark.usefixtures("x64")


@pytest.fixture(params=["eager", "jit"])
def run(request):
  return jax.jit if request.param == "jit" else lambda function: function


def test_the_share_is_the_diagonal_of_a_softmax(run):
  x = np.random.default_rng(1).normal(size=(5, 3))
  scores = np.exp(x @ x.T / np.sqrt(3))
  weights = scores / scores.sum(-1, keepdims=True)
  difference = weights @ x - x
  share, distance = run(attention_copies.own_share)(jnp.asarray(x))
  assert float(share) == pytest.approx(np.trace(weights) / 5, rel=1e-12)
  expected = (np.linalg.norm(difference, axis=-1) / np.linalg.norm(x, axis=-1)).mean()
  assert float(distance) == pytest.approx(expected, rel=1e-12)


def test_orthogonal_vectors_have_a_share_in_closed_form(run):
  """x_t = s e_t: A_tt = e^{s^2/sqrt(d)} / (e^{s^2/sqrt(d)} + d - 1)."""
  for s in (0.5, 2.0, 4.0):
    share, _ = run(attention_copies.own_share)(s * jnp.eye(9))
    grown = np.exp(s**2 / 3)
    assert float(share) == pytest.approx(grown / (grown + 8), rel=1e-12)


def test_longer_vectors_are_copied(run):
  norms = jnp.array([1e-6, 1.0, 2.0, 4.0, 6.0, 8.0, 12.0])
  share, distance = run(lambda s: attention_copies.over_norms(s, t=32, d=64))(norms)
  assert float(share[0]) == pytest.approx(1 / 32)
  assert (np.diff(share) > 0).all() and (np.diff(distance) < 0).all()
  assert share[5] > 0.95 and distance[5] < 0.1  # At sqrt(d).
  assert share[-1] > 1 - 1e-5 and distance[-1] < 1e-5


@pytest.mark.parametrize("d", [2, 16, 256])
def test_the_variance_of_scores_is_d_and_1(d):
  """Five standard errors: the variance of n products' sample variance is (2 + 6 / d) / n."""
  raw, scaled = attention_copies.score_variances(d=d, count=20_000)
  tolerance = 5 * np.sqrt((2 + 6 / d) / 20_000)
  assert float(raw) / d == pytest.approx(1, abs=tolerance)
  assert float(scaled) == pytest.approx(1, abs=tolerance)
