"""The inception block: its table and its second branch. Final exam of January 25, 2023."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import conv, linear
from dlx.models import summary

ONE, TWO = ((1, 1), (1, 1)), ((2, 2), (2, 2))  # Padding that keeps H x W for 3 x 3 and 5 x 5.


BLOCK = summary.concat(  # Every convolution has one output channel, as the table asks.
    [summary.conv(1, 1, name="h1")],
    [summary.conv(1, 1, name="h2"), summary.conv(1, 3, padding=ONE, name="h2'")],
    [summary.conv(1, 1, name="h3"), summary.conv(1, 5, padding=TWO, name="h3'")],
    [summary.max_pool(3, 1, padding=ONE, name="h4"), summary.conv(1, 1, name="h4'")],
    name="h",
)


@pytest.mark.parametrize("h, w, c", [(6, 4, 3), (5, 5, 1)])
def test_the_table_of_the_block(h, w, c):
  """Part 3, problem 1, question 2: parameters and dimensions for an H x W x C image.

  1 x 1 convolutions have C + 1 parameters, the 3 x 3 one 10, the 5 x 5 one 26, the
  pooling none. All are H x W but h4, H x W x C, and the concatenation, H x W x 4.
  """
  table = summary.of_layers([BLOCK], (h, w, c))
  assert [(row.layer, row.total, row.output) for row in table.rows] == [
      ("1/h1", c + 1, (h, w, 1)),
      ("2/h2", c + 1, (h, w, 1)),
      ("2/h2'", 3 * 3 + 1, (h, w, 1)),
      ("3/h3", c + 1, (h, w, 1)),
      ("3/h3'", 5 * 5 + 1, (h, w, 1)),
      ("4/h4", 0, (h, w, c)),
      ("4/h4'", c + 1, (h, w, 1)),
      ("h", 0, (h, w, 4)),
  ]


def test_a_one_by_one_convolution_is_a_linear_layer_on_each_pixel(x64, run):
  """Part 3, problem 1, question 1: the channels of a pixel are mapped, pixel by pixel."""
  rng = np.random.default_rng(0)
  x, kernel, bias = (jnp.asarray(rng.normal(size=s)) for s in ((3, 2, 4), (4, 5), (5,)))
  of_image = run(conv.apply)({"kernel": kernel[None, None], "bias": bias}, x)
  of_pixels = linear.apply({"kernel": kernel, "bias": bias}, x)
  np.testing.assert_allclose(of_image, of_pixels, rtol=1e-12)


# Two channels of 3 x 3 pixels.
IMAGE = np.array(
    [
        [[1.03, 0.94, 0.98], [0.78, 0.49, 0.82], [0.94, 0.77, 0.85]],
        [[0.97, 1.06, 1.02], [0.82, 0.51, 0.78], [0.86, 0.83, 0.95]],
    ]
)


def second_branch(x):
  """(h2, z2', h2') with the filters [.5 .5] and [-1 -1 -1; 0 0 0; 1 1 1], without biases."""
  rows = jnp.array([[-1.0], [0], [1]]) * jnp.ones((1, 3))
  h2 = jax.nn.relu(conv.apply({"kernel": jnp.full((1, 1, 2, 1), 0.5)}, x, padding="VALID"))
  z2 = conv.apply({"kernel": rows[..., None, None]}, h2, padding=ONE)
  return h2[..., 0], z2[..., 0], jax.nn.relu(z2)[..., 0]


def test_the_second_branch_of_a_small_image(x64, run):
  """Part 3, problem 1, question 3: h2 is the mean of the channels, h2' a 3 x 3 filter on it.

  h2 = [1 1 1; .8 .5 .8; .9 .8 .9]; with zeros around it the filter, which is not
  flipped, gives [1.3 2.1 1.3; -.3 -.4 -.3; -1.3 -2.1 -1.3], and relu keeps the first row.
  """
  h2, z2, out = run(second_branch)(jnp.asarray(np.moveaxis(IMAGE, 0, -1)))
  np.testing.assert_allclose(h2, [[1, 1, 1], [0.8, 0.5, 0.8], [0.9, 0.8, 0.9]], rtol=1e-14)
  printed = [[1.3, 2.1, 1.3], [-0.3, -0.4, -0.3], [-1.3, -2.1, -1.3]]
  np.testing.assert_allclose(z2, printed, rtol=1e-13)
  np.testing.assert_allclose(out, [[1.3, 2.1, 1.3], [0, 0, 0], [0, 0, 0]], rtol=1e-13)
