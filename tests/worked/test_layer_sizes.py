"""Sizes of single layers: the first layer of AlexNet, an auto-encoder."""

import jax

from dlx.layers import conv
from dlx.models import summary


def test_the_first_layer_of_alexnet():
  """Final exam of February 26, 2022, part 1, question 7: 223 x 223 x 3 to 54 x 54 x 96.

  An 11 x 11 window, stride 4, no padding: (223 - 11) / 4 + 1 = 54. With stride 1 it
  would be 213, another option.
  """

  def output(strides):
    layer = summary.conv(96, 11, strides=strides, padding="VALID")
    return summary.of_layers([layer], (223, 223, 3)).output

  assert output(4) == (54, 54, 96)
  assert output(1) == (213, 213, 96)
  assert conv.output_size(223, 11, 4, "VALID") == 54


def test_an_auto_encoder_of_three_hidden_layers():
  """Final exam of January 25, 2023, part 1, question 6: 28 x 28 pixels through 250, 75, 250.

  It gives back 784 numbers, and the latent representation has 75.
  """
  hidden = [summary.linear(250), summary.linear(75, name="latent"), summary.linear(250)]
  relu = summary.function("relu", jax.nn.relu)
  layers = [summary.flatten(), *(x for layer in hidden for x in (layer, relu)), summary.linear(784)]
  table = summary.of_layers(layers, (28, 28, 1))
  outputs = {row.layer: row.output for row in table.rows}
  assert outputs["latent"] == (75,)
  assert outputs["flatten"] == table.output == (784,)
  assert min(output[0] for output in outputs.values()) == 75
