"""The two small networks, their outputs and one step of SGD. Final exam of February 26, 2022."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as linear_gradients
from dlx.gradients import losses as loss_gradients
from dlx.layers import conv, linear, losses
from dlx.models import summary

W_OUT = np.array([1.0, 2, 3, 4])
B_OUT = -5.0


def output_layer():
  return {"kernel": jnp.asarray(W_OUT[:, None]), "bias": jnp.array([B_OUT])}


def convolutional(params, x):
  """(z_1, h_1, z_out) for an image (..., 3, 3, 1); h_1 is read column after column."""
  z_1 = conv.apply(params["first"], x, padding="VALID")
  h_1 = jax.nn.relu(z_1)
  columns = jnp.swapaxes(h_1, -2, -3).reshape(*x.shape[:-3], 4)
  return z_1, h_1, linear.apply(params["last"], columns)


def test_the_sizes_and_parameters_of_both():
  """Part 3, problem 1, question 1: a 2 x 2 filter on 3 x 3 pixels, or 4 hidden units on 9.

  z_1 and h_1 are 2 x 2 (4 x 1) and z_out one number; with biases the first layers have 5
  and 40 parameters, the last 5 each.
  """
  relu = summary.function("h_1", jax.nn.relu)
  last = [summary.flatten(), summary.linear(1, name="z_out")]
  table = summary.of_layers([summary.conv(1, 2, padding="VALID"), relu, *last], (3, 3, 1))
  sizes = [(row.output, row.total) for row in table.rows]
  assert sizes == [((2, 2, 1), 5), ((2, 2, 1), 0), ((4,), 0), ((1,), 5)]
  table = summary.of_layers([summary.linear(4), relu, *last[1:]], (9,))
  assert [(row.output, row.total) for row in table.rows] == [((4,), 40), ((4,), 0), ((1,), 5)]


def test_the_convolutional_network_answers_zero(x64, run):
  """Part 3, problem 1, question 2: the filter [-1 -2; 1 2] on a checkered image.

  z_1 = [1 -1; -1 1], h_1 = [1 0; 0 1] and z_out = 1 + 4 - 5 = 0. A convolution does not
  flip its filter, here and in dlx.
  """
  kernel = jnp.array([[-1.0, -2], [1, 2]])[..., None, None]
  params = {"first": {"kernel": kernel, "bias": jnp.zeros(1)}, "last": output_layer()}
  x = jnp.array([[1.0, 0, 1], [0, 1, 0], [1, 0, 1]])[..., None]
  z_1, h_1, z_out = run(convolutional)(params, x)
  np.testing.assert_array_equal(z_1[..., 0], [[1, -1], [-1, 1]])
  np.testing.assert_array_equal(h_1[..., 0], [[1, 0], [0, 1]])
  np.testing.assert_array_equal(z_out, [0])


def sgd_step(params, h_1, label, rate=1.0):
  """(loss, gradients, new parameters) of the last layer, by the hand-derived rules."""
  z_out = linear.apply(params, h_1)
  loss = losses.binary_cross_entropy(z_out, label)
  d_z, _ = loss_gradients.binary_cross_entropy_vjp(z_out, label, d_out=jnp.ones_like(loss))
  d_params, _ = linear_gradients.apply_vjp(params, h_1, d_out=d_z)
  return loss, d_params, jax.tree.map(lambda p, d: p - rate * d, params, d_params)


def test_one_step_of_stochastic_gradient_descent(x64, run):
  """Part 3, problem 1, question 3: one step at rate 1 for h_1 = [1 0 0 1] and y = +1.

  z_out = 0, so the loss is log 2 and s(z) - 1 = -1/2. The gradient of w is [-.5 0 0 -.5],
  that of b -.5; then w = [1.5 2 3 4.5]. dlx's labels are 1 and 0 for +1 and -1.
  """
  loss, d, new = run(sgd_step)(output_layer(), jnp.array([1.0, 0, 0, 1]), jnp.ones(1))
  assert float(loss) == pytest.approx(np.log(2), rel=1e-14)
  np.testing.assert_array_equal(d["kernel"][:, 0], [-0.5, 0, 0, -0.5])
  np.testing.assert_array_equal(d["bias"], [-0.5])
  np.testing.assert_array_equal(new["kernel"][:, 0], [1.5, 2, 3, 4.5])


def test_the_step_makes_the_bias_minus_four_and_a_half(x64, run):
  """Erratum of question 3. -5 - (-.5) is -4.5; printed is 5.5."""
  h_1, label = jnp.array([1.0, 0, 0, 1]), jnp.ones(1)
  loss, d, new = run(sgd_step)(output_layer(), h_1, label)
  np.testing.assert_array_equal(new["bias"], [-4.5])
  assert float(new["bias"][0]) != 5.5
  np.testing.assert_array_equal(np.abs(new["bias"] - B_OUT), np.abs(d["bias"]))  # Rate 1.
  assert sgd_step(new, h_1, label)[0] < loss
