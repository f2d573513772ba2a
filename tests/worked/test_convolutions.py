"""Convolutional networks: tables of sizes, one filter by hand, skip connections."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import residual
from dlx.layers import conv, linear, pooling
from dlx.models import summary


def lines(table):
  """The columns of the exam's table."""
  return [(row.layer, row.output, row.weights, row.biases) for row in table.rows]


def test_the_employees_network():
  """Final exam of February 12, 2022, part 3, problem 1, question 2: 192 x 256 grey pictures.

  Convolutions of 5 filters 3x3 (padding 1), 10 of 5x5, 20 of 2x2 with stride 2, each
  followed by ReLU and max pooling: 2x2 with stride 2 twice, then 5x5 with stride 2. The
  2,800 numbers that are left go to six classes.
  """
  layers = [
      summary.conv(5, 3, padding=((1, 1), (1, 1)), name="1st conv"),
      summary.max_pool(2, name="1st pooling"),
      summary.conv(10, 5, padding="VALID", name="2nd conv"),
      summary.max_pool(2, name="2nd pooling"),
      summary.conv(20, 2, strides=2, padding="VALID", name="3rd conv"),
      summary.max_pool(5, 2, name="3rd pooling"),
      summary.flatten(),
      summary.linear(6, name="output"),
  ]
  assert lines(summary.of_layers(layers, (192, 256, 1))) == [
      ("1st conv", (192, 256, 5), 45, 5),
      ("1st pooling", (96, 128, 5), 0, 0),
      ("2nd conv", (92, 124, 10), 1250, 10),
      ("2nd pooling", (46, 62, 10), 0, 0),
      ("3rd conv", (23, 31, 20), 800, 20),
      ("3rd pooling", (10, 14, 20), 0, 0),
      ("flatten", (2800,), 0, 0),
      ("output", (6,), 16_800, 6),
  ]


def test_the_network_for_128_by_128_pictures():
  """Modern architecture, question 1: sizes after each layer; no solution is printed.

  16 filters 5x5 "same", pooling by 2, 32 filters 3x3 "valid", pooling by 2, flattened,
  100 units. 64 - 3 + 1 is 62; 31 x 31 x 32 = 30,752. The first convolution has
  16 (5 5 3 + 1) = 1,216 parameters.
  """
  layers = [
      summary.conv(16, 5, padding="SAME", name="a"),
      summary.max_pool(2, name="b"),
      summary.conv(32, 3, padding="VALID", name="c"),
      summary.max_pool(2, name="d"),
      summary.flatten(name="e"),
      summary.linear(100, name="f"),
  ]
  table = summary.of_layers(layers, (128, 128, 3))
  assert lines(table) == [
      ("a", (128, 128, 16), 5 * 5 * 3 * 16, 16),
      ("b", (64, 64, 16), 0, 0),
      ("c", (62, 62, 32), 3 * 3 * 16 * 32, 32),
      ("d", (31, 31, 32), 0, 0),
      ("e", (30_752,), 0, 0),
      ("f", (100,), 3_075_200, 100),
  ]
  assert table.rows[0].total == 1216
  assert table.total == 1216 + 4640 + 3_075_300


@pytest.mark.parametrize("strides, size", [(1, (3, 3)), (2, (2, 2))])
def test_a_convolution_is_a_dot_product_with_each_patch(run, x64, strides, size):
  """Final exam of January 25, 2023, part 1, question 7: patches of the input and filters.

  Output (i, j, f) is the sum over a 2 x 3 patch, all its channels, of x times filter f. A fully
  connected layer is the case of one patch, the whole input.
  """
  rng = np.random.default_rng(0)
  x, kernel, bias = (rng.normal(size=s) for s in ((4, 5, 2), (2, 3, 2, 4), (4,)))
  y = run(lambda x: conv.apply({"kernel": kernel, "bias": bias}, x, strides=strides,
                               padding="VALID"))(jnp.asarray(x))  # fmt: skip
  assert y.shape == (*size, 4)
  for i, j, f in np.ndindex(y.shape):
    rows, columns = i * strides, j * strides
    patch = x[rows : rows + 2, columns : columns + 3]
    assert y[i, j, f] == pytest.approx(np.vdot(patch, kernel[..., f]) + bias[f], rel=1e-12)
  whole = rng.normal(size=(4, 5, 2, 3))
  y = run(lambda x: conv.apply({"kernel": whole}, x, padding="VALID"))(jnp.asarray(x))
  connected = linear.apply({"kernel": jnp.asarray(whole.reshape(40, 3))}, x.ravel())
  np.testing.assert_allclose(y[0, 0], connected, rtol=1e-12)


FILTER = np.array([[1.0, 0, -1], [1, 0, -1], [1, 0, -1]])
# The figure with the brightness values is not in the text. The four that the skip connection
# adds are printed; the others were solved, but for two that are free, from the printed sums
# (-0.5, 0.2, -0.9, 0), which therefore hold by construction.
BRIGHTNESS = np.array([[0.5, 0.3, 0.2], [0.3, 0.2, 0.4], [0.1, 0.4, 0.3]])


def filtered(x, bias=0.0):
  """The first convolution: one filter, stride 1, zero padding of 1."""
  params = {"kernel": jnp.asarray(FILTER)[:, :, None, None], "bias": jnp.array([bias])}
  return conv.apply(params, x, padding=((1, 1), (1, 1)))


def test_one_filter_and_its_pool(run, x64):
  """Final exam of February 12, 2022, part 3, problem 1, question 3: [1 0 -1] thrice, bias 0.5.

  The figure with the pixels is missing in the text, and BRIGHTNESS was solved for the printed
  sums. So these confirm nothing; the bias, ReLU, pool and the skip connection below do. The
  sums under the filter are [[-0.5 0.2] [-0.9 0.0]]; with the bias and ReLU
  [[0 0.7] [0 0.5]], and the pool's first value is 0.7.
  """
  x = jnp.asarray(BRIGHTNESS)[:, :, None]
  np.testing.assert_allclose(
      run(filtered)(x)[:2, :2, 0], [[-0.5, 0.2], [-0.9, 0.0]], rtol=0, atol=1e-15
  )
  hidden = run(lambda x: jax.nn.relu(filtered(x, 0.5)))(x)
  np.testing.assert_allclose(hidden[:2, :2, 0], [[0, 0.7], [0, 0.5]], rtol=0, atol=1e-15)
  pooled = run(lambda h: pooling.max_pool(h[:2, :2], 2, 2))(jnp.asarray(hidden))
  np.testing.assert_allclose(pooled[0, 0, 0], 0.7, rtol=1e-14)


def test_one_filter_and_its_pool_with_a_skip_connection(run, x64):
  """Final exam of February 12, 2022, part 3, problem 1, question 4: the input is added before ReLU.

  [[-0.5 0.2] [-0.9 0]] + [[0.5 0.3] [0.3 0.2]] + 0.5 gives [[0.5 1.0] [0 0.7]] and the
  pool's first value 1.0.
  """
  x = jnp.asarray(BRIGHTNESS)[:, :, None]
  hidden = run(lambda x: jax.nn.relu(filtered(x, 0.5) + x))(x)
  np.testing.assert_allclose(hidden[:2, :2, 0], [[0.5, 1.0], [0, 0.7]], rtol=0, atol=1e-15)
  pooled = run(lambda h: pooling.max_pool(h[:2, :2], 2, 2))(jnp.asarray(hidden))
  np.testing.assert_allclose(pooled[0, 0, 0], 1.0, rtol=1e-14)


def test_the_skip_connection_adds_lambda_to_the_derivative(run, x64):
  """Notes, Residual networks: dL/dx = dL/dH (dF/dx + lambda) for H = F(x) + lambda x.

  With F = tanh(W x) it is W^T (d_H (1 - F^2)) + lambda d_H; where F is flat, and its own
  gradient gone, lambda d_H remains.
  """
  w, x, d_h, factor = np.array([[2.0, 1], [0, -1]]), np.array([0.5, 1.0]), np.array([1.0, 3]), 0.7

  def backward(x):
    f = jnp.tanh(linear.apply({"kernel": jnp.asarray(w.T)}, x))
    d_x, d_f, _ = residual.add_vjp(x, f, jnp.asarray(factor), d_out=jnp.asarray(d_h))
    return d_x + jnp.asarray(w.T) @ (d_f * (1 - f**2))

  f = np.tanh(w @ x)
  right = d_h @ (np.diag(1 - f**2) @ w + factor * np.eye(2))
  np.testing.assert_allclose(run(backward)(jnp.asarray(x)), right, rtol=1e-12)
  of_h = run(jax.grad(lambda x: (jnp.tanh(jnp.asarray(w) @ x) + factor * x) @ jnp.asarray(d_h)))
  np.testing.assert_allclose(of_h(jnp.asarray(x)), right, rtol=1e-12)
  np.testing.assert_allclose(run(backward)(jnp.array([50.0, 50.0])), factor * d_h, rtol=1e-12)


def test_there_is_a_bias_for_each_filter_not_for_each_input_channel():
  """Erratum of the notes, Size and complexity: "Number of biases: NumberOfInputChannels".

  The employees' network has 1, 5 and 10 channels going in and 5, 10 and 20 biases, the
  numbers of filters; the exam's own table says so.
  """
  for window, c_in, c_out in ((3, 1, 5), (5, 5, 10), (2, 10, 20)):
    table = summary.of_layers([summary.conv(c_out, window)], (8, 8, c_in))
    assert table.biases == c_out != c_in


def test_the_two_formulas_for_the_weights_differ_by_the_biases():
  """Erratum of the notes, Size and complexity: two formulas for the "trainable weights".

  Filters x (height x width x channels + 1) counts all parameters, kernel^2 x in x out the
  weights alone; they are given as the same number.
  """
  table = summary.of_layers([summary.conv(10, 5)], (8, 8, 5))
  assert table.weights == 5**2 * 5 * 10 == 1250
  assert table.total == 10 * (5 * 5 * 5 + 1) == 1260


def test_the_output_size_is_rounded_down():
  """Erratum of the notes, Size and complexity: M = (N - F + 2P) / S + 1 without a floor.

  For N = 6, F = 3, S = 2, P = 0 that is 2.5; two windows fit, as the layer confirms.
  Padding by (F - 1) / 2 keeps the size only for S = 1 (the notes leave it out).
  """
  assert (6 - 3) / 2 + 1 == 2.5
  assert conv.output_size(6, 3, 2, ((0, 0), (0, 0))) == conv.output_size(6, 3, 2, "VALID") == 2
  layer = summary.conv(1, 3, strides=2, padding="VALID")
  assert summary.of_layers([layer], (6, 6, 1)).output == (2, 2, 1)
  one = ((1, 1), (1, 1))
  assert conv.output_size(6, 3, 1, one) == 6 != conv.output_size(6, 3, 2, one) == 3
