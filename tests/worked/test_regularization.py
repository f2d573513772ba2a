"""Penalties of weights and dropout, in the course notes and an exam."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import penalties
from dlx.layers import losses
from dlx.layers.dropout import dropout

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
