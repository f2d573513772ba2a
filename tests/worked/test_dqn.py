"""The deep Q-network: parameters, loss, a linear layer. Final exam of February 10, 2023."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as linear_gradients
from dlx.gradients import losses as loss_gradients
from dlx.gradients import penalties
from dlx.layers import linear, losses
from dlx.models import summary

CONVOLUTIONS = [  # Strides are those of the figure; no padding, relu after each.
    summary.conv(32, 8, strides=4, padding="VALID"),
    summary.conv(64, 4, strides=2, padding="VALID"),
    summary.conv(64, 3, padding="VALID"),
]
LINEAR = [summary.linear(512, name="hidden"), summary.linear(18, name="values")]
SIZE = (84, 84, 4)


def test_the_network_has_1_693_362_parameters():
  """Part 3, problem 1, question 1: 8,224 + 32,832 + 36,928 + 1,606,144 + 9,234.

  The convolutions give 20 x 20 x 32, 9 x 9 x 64 and 7 x 7 x 64, which is 3,136; there
  are 18 actions.
  """
  table = summary.of_layers([*CONVOLUTIONS, summary.flatten(), *LINEAR], SIZE)
  assert [(row.output, row.total) for row in table.rows] == [
      ((20, 20, 32), 8_224),
      ((9, 9, 64), 32_832),
      ((7, 7, 64), 36_928),
      ((3_136,), 0),
      ((512,), 1_606_144),
      ((18,), 9_234),
  ]
  assert table.total == 1_693_362


def test_a_linear_layer_in_place_of_the_convolutions_has_biases():
  """Erratum of part 3, problem 1, question 2. 3,136 biases were left out.

  The layer has 28,224 x 3,136 + 3,136 = 88,513,600 parameters, printed 88,510,464, and
  the network 90,128,978, printed 90,125,842. Either is over 53 times the original.
  """
  table = summary.of_layers([summary.flatten(), summary.linear(3_136), *LINEAR], SIZE)
  assert [row.output for row in table.rows] == [(28_224,), (3_136,), (512,), (18,)]
  first = table.rows[1]
  assert (first.weights, first.biases, first.total) == (88_510_464, 3_136, 88_513_600)
  assert table.total == 90_128_978 != 90_125_842
  assert table.total - first.biases == 90_125_842  # As printed, without these biases.
  original = summary.of_layers([*CONVOLUTIONS, summary.flatten(), *LINEAR], SIZE)
  assert 53 < table.total / original.total < 54


LAMBDA = 0.25
STATE = np.array([1.0, -2, 0.5])
KERNEL = np.array([[0.5, -1.0], [0.25, 0.75], [2.0, 1.0]])
BIAS = np.array([0.125, -0.5])
TARGET, ACTION = 3.0, 1


def tiny_network():
  return {"kernel": jnp.asarray(KERNEL), "bias": jnp.asarray(BIAS)}


def loss(params, weight=0.0):
  """(1/2) (target - q(x, a))^2 + (weight / 2) |theta|^2 for one linear layer."""
  q = linear.apply(params, jnp.asarray(STATE))[ACTION]
  return losses.squared_error(q, jnp.array(TARGET)) / 2 + losses.l2_penalty(params, weight)


def gradient(params, weight=0.0):
  """The gradient of `loss` by the hand-derived rules."""
  q = linear.apply(params, jnp.asarray(STATE))
  half = jnp.array(0.5)
  d_q, _ = loss_gradients.squared_error_vjp(q[ACTION], jnp.array(TARGET), d_out=half)
  d_out = jnp.zeros_like(q).at[ACTION].set(d_q)
  g, _ = linear_gradients.apply_vjp(params, jnp.asarray(STATE), d_out=d_out)
  penalty = penalties.l2_penalty_vjp(params, d_out=jnp.array(1.0), weight=weight)
  return jax.tree.map(jnp.add, g, penalty)


def test_the_loss_and_its_l2_term(x64, run):
  """Part 3, problem 1, question 3: L = 1/2 (target - q)^2 and L + lambda/2 |theta|^2.

  The gradient of the second is g_k + lambda theta_k with g_k that of the first. Here q is
  one linear layer: q = -1 - 1.5 + .5 - .5 = -2.5, so L = 1/2 5.5^2 = 15.125, and g is
  -5.5 x in the kernel's column of the action, -5.5 in its bias.
  """
  params = tiny_network()
  assert float(run(loss)(params)) == 15.125
  norm = (KERNEL**2).sum() + (BIAS**2).sum()
  assert float(run(loss)(params, LAMBDA)) == pytest.approx(15.125 + LAMBDA / 2 * norm, rel=1e-14)
  g = run(gradient)(params)
  np.testing.assert_array_equal(g["kernel"], np.outer(STATE, [0, -5.5]))
  np.testing.assert_array_equal(g["bias"], [0, -5.5])
  new = run(gradient)(params, LAMBDA)
  np.testing.assert_allclose(new["kernel"], g["kernel"] + LAMBDA * KERNEL, rtol=1e-14)
  np.testing.assert_allclose(new["bias"], g["bias"] + LAMBDA * BIAS, rtol=1e-14)
  with_jax = jax.grad(loss)(params, LAMBDA)
  np.testing.assert_allclose(new["kernel"], with_jax["kernel"], rtol=1e-14)


def test_the_penalty_does_not_depend_on_the_number_of_points(x64, run):
  """Erratum of question 3. "N is the number of points in the dataset", but there is no N.

  With lambda / (2 N) |theta|^2 the derivative would be g + lambda theta / N.
  """
  params, n = tiny_network(), 5
  g, new = run(gradient)(params), run(gradient)(params, LAMBDA)
  np.testing.assert_allclose(new["kernel"] - g["kernel"], LAMBDA * KERNEL, rtol=1e-14)
  assert np.abs(new["kernel"] - g["kernel"] - LAMBDA / n * KERNEL).min() > 0.01
