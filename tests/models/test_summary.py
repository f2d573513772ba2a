"""Tables of layers: published networks, branches, options, the printed form, errors."""

import jax.numpy as jnp
import pytest

from dlx.errors import UserError
from dlx.models import summary

ONE = ((1, 1), (1, 1))


def rows(table):
  return [(row.layer, row.output, row.weights, row.biases) for row in table.rows]


DQN = [
    summary.conv(32, 8, strides=4, padding="VALID"),
    summary.conv(64, 4, strides=2, padding="VALID"),
    summary.conv(64, 3, padding="VALID"),
    summary.flatten(),
    summary.linear(512, name="hidden"),
    summary.linear(18, name="values"),
]


def test_the_deep_q_network():
  table = summary.of_layers(DQN, (84, 84, 4))
  assert rows(table) == [
      ("conv 8x8, stride 4", (20, 20, 32), 8_192, 32),
      ("conv 4x4, stride 2", (9, 9, 64), 32_768, 64),
      ("conv 3x3", (7, 7, 64), 36_864, 64),
      ("flatten", (3136,), 0, 0),
      ("hidden", (512,), 1_605_632, 512),
      ("values", (18,), 9_216, 18),
  ]
  assert (table.weights, table.biases, table.total) == (1_692_672, 690, 1_693_362)
  assert table.output == (18,)
  # Each kernel is applied at each position of its output.
  assert [row.multiply_adds for row in table.rows] == [
      8_192 * 400, 32_768 * 81, 36_864 * 49, 0, 1_605_632, 9_216
  ]


def test_the_first_layer_of_alexnet():
  table = summary.of_layers([summary.conv(96, 11, strides=4, padding="VALID")], (227, 227, 3))
  assert rows(table) == [("conv 11x11, stride 4", (55, 55, 96), 34_848, 96)]


def test_an_inception_block():
  block = summary.concat(
      [summary.conv(1, 1, name="h1")],
      [summary.conv(1, 1, name="h2"), summary.conv(1, 3, padding=ONE, name="h2'")],
      [summary.max_pool(3, 1, padding=ONE, name="h4"), summary.conv(2, 1, name="h4'")],
      name="h",
  )
  assert rows(summary.of_layers([block, summary.linear(7)], (6, 4, 3))) == [
      ("1/h1", (6, 4, 1), 3, 1),
      ("2/h2", (6, 4, 1), 3, 1),
      ("2/h2'", (6, 4, 1), 9, 1),
      ("3/h4", (6, 4, 3), 0, 0),
      ("3/h4'", (6, 4, 2), 6, 2),
      ("h", (6, 4, 4), 0, 0),
      ("linear", (6, 4, 7), 28, 7),
  ]


def test_options_of_convolution_and_pooling_reach_the_layer():
  layers = [
      summary.conv(6, (3, 1), groups=2, bias=False, padding="VALID", strides=(1, 2)),
      summary.max_pool(2),
      summary.avg_pool((3, 2), 1, padding="SAME"),
      summary.conv(1, 3, dilation=2, padding="VALID"),
  ]
  assert rows(summary.of_layers(layers, (14, 20, 4))) == [
      ("conv 3x1, stride 1x2", (12, 10, 6), 3 * 2 * 6, 0),
      ("max_pool 2x2, stride 2", (6, 5, 6), 0, 0),
      ("avg_pool 3x2", (6, 5, 6), 0, 0),
      ("conv 3x3", (2, 1, 1), 3 * 3 * 6, 1),
  ]


@pytest.mark.parametrize(
    "layer, gates, biases",
    [
        (summary.rnn(4), 1, 1),
        (summary.gru(4), 3, 3),
        (summary.gru(4, reset_after=True), 3, 6),
        (summary.lstm(4), 4, 4),
    ],
    ids=["rnn", "gru", "gru reset_after", "lstm"],
)
def test_recurrent_layers_over_a_sequence(layer, gates, biases):
  table = summary.of_layers([layer, summary.linear(11)], (7, 3))
  assert table.multiply_adds == 7 * table.weights
  assert [row[1:] for row in rows(table)] == [
      ((7, 4), gates * 4 * (3 + 4), biases * 4),
      ((7, 11), 44, 11),
  ]


def test_a_custom_layer():
  layer = summary.Layer(
      "bilinear",
      lambda rng, shape: {"kernel": jnp.ones((*shape, 3)), "bias": jnp.ones(3)},
      lambda params, x: jnp.einsum("ij,ijk->k", x, params["kernel"]) + params["bias"],
  )
  assert rows(summary.of_layers([layer], (2, 5))) == [("bilinear", (3,), 30, 3)]


def test_nothing_is_computed():
  # 2^50 numbers do not fit into memory.
  table = summary.of_layers([summary.linear(2**25)], (2**25,))
  assert table.weights == 2**50


LAYERS = ["conv(96, 11, strides=4, padding='VALID')", "flatten", "linear(10, name='logits')"]
PRINTED = """
layer                 output          weights  biases      total  multiply-adds
-------------------------------------------------------------------------------
conv 11x11, stride 4  54 x 54 x 96     34,848      96     34,944    101,616,768
flatten               279936                0       0          0              0
logits                10            2,799,360      10  2,799,370      2,799,360
-------------------------------------------------------------------------------
total                               2,834,208     106  2,834,314    104,416,128
"""


def run(monkeypatch, *arguments):
  monkeypatch.setattr("sys.argv", ["summary", *arguments])
  return summary.main()


def test_the_program_prints_the_table(monkeypatch, capsys):
  assert run(monkeypatch, "224,224,3", *LAYERS) == 0
  assert capsys.readouterr().out == PRINTED[1:]


@pytest.mark.parametrize("text, message", [
    ("conf(3)", r"'conf\(3\)' is not a layer; write one as conv\(32, 3\)"),
    ("linear(", "is not a layer"), ("linear(x)", "is not a layer"), ("2 + 2", "is not a layer"),
    ("linear.init(3)", "is not a layer"), ("", "is not a layer"),
    ("linear", "missing 1 required positional argument: 'd_out'"),
])  # fmt: skip
def test_a_text_that_is_not_a_layer_is_refused(text, message):
  with pytest.raises(UserError, match=message):
    summary.parse(text)


@pytest.mark.parametrize("arguments, message", [
    (["8,a", "flatten"], "shape: expected sizes such as 84,84,4, got '8,a'"),
    (["8,3", "conv(3, 5)"], "layers: 'conv 5x5' does not take shape (8, 3)"),
    (["8,3", "linear"], "'linear': "),
])  # fmt: skip
def test_an_error_of_the_program_is_one_line(monkeypatch, capsys, arguments, message):
  assert run(monkeypatch, *arguments) == 2
  error = capsys.readouterr().err
  assert message in error and error.count("\n") == 1


def test_a_layer_that_does_not_take_its_input_is_named():
  with pytest.raises(ValueError, match=r"layers: 'lstm' does not take shape \(3,\): xs: expected"):
    summary.of_layers([summary.linear(3), summary.lstm(4)], (7,))
  branches = summary.concat([summary.linear(3)], [summary.max_pool(2)])
  with pytest.raises(ValueError, match=r"'concat' cannot join shapes \(4, 4, 3\), \(2, 2, 2\)"):
    summary.of_layers([branches], (4, 4, 2))
