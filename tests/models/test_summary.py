"""The table of a model: exam tables in a few lines, Linen modules, forms of print, errors."""

import io

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
import rich.console

from dlx.layers import gru, linear
from dlx.models import summary
from dlx.models.language_model import RecurrentLanguageModel
from dlx.models.table import Row, Table

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


def test_norms_scale_and_running_statistics_are_no_parameters():
  layers = [summary.layer_norm(), summary.rms_norm(), summary.batch_norm()]
  assert rows(summary.of_layers(layers, (7, 5))) == [
      ("layer_norm", (7, 5), 5, 5),
      ("rms_norm", (7, 5), 5, 0),
      ("batch_norm", (7, 5), 5, 5),
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
def test_recurrent_layers_over_embedded_ids(layer, gates, biases):
  table = summary.of_layers([summary.embedding(11, 3), layer, summary.linear(11)], (7,))
  assert [row[1:] for row in rows(table)] == [
      ((7, 3), 33, 0),
      ((7, 4), gates * 4 * (3 + 4), biases * 4),
      ((7, 11), 44, 11),
  ]


def test_the_last_state_alone():
  layers = [summary.rnn(4, last=True), summary.function("relu", jax.nn.relu), summary.linear(2)]
  assert [row[:2] for row in rows(summary.of_layers(layers, (7, 3)))] == [
      ("rnn", (4,)), ("relu", (4,)), ("linear", (2,))
  ]


def test_attention_to_itself_and_to_a_context():
  table = summary.of_layers([summary.attention(2)], (5, 8))
  assert rows(table) == [("attention", (5, 8), 4 * 64, 4 * 8)]
  table = summary.of_layers([summary.attention(2, context=(9, 6), bias=False)], (5, 8))
  assert rows(table) == [("attention", (5, 8), 2 * 64 + 2 * 6 * 8, 0)]


def test_a_layer_of_ones_own():
  layer = summary.Layer(
      "bilinear",
      lambda rng, shape: {"kernel": jnp.ones((*shape, 3)), "bias": jnp.ones(3)},
      lambda params, x: jnp.einsum("ij,ijk->k", x, params["kernel"]) + params["bias"],
  )
  assert rows(summary.of_layers([layer], (2, 5))) == [("bilinear", (3,), 30, 3)]


def test_nothing_is_computed():
  # 2^50 numbers would not fit anywhere.
  table = summary.of_layers([summary.linear(2**25)], (2**25,))
  assert table.weights == 2**50


class Branch(nn.Module):
  @nn.compact
  def __call__(self, x):
    return linear.apply(self.param("map", linear.init, x.shape[-1], 2), x)


class Model(nn.Module):
  @nn.compact
  def __call__(self, xs, *, train):
    shared = nn.Dense(6, name="shared")
    xs = shared(shared(xs))
    params = self.param("gru", gru.init, 6, 3)
    carry, ys = gru.scan(params, xs)
    self.sow("intermediates", "gru", ys)
    self.param("stack", lambda rng: [{"kernel": jnp.ones((2, 2))}] * 2)
    self.sow("intermediates", "stack", ys)
    ys = nn.BatchNorm(use_running_average=not train, name="a_norm")(ys)
    ys = ys * self.param("factor", nn.initializers.ones, (3,))
    return carry, nn.Dropout(0.5, deterministic=not train)(Branch(name="branch")(ys))


@pytest.mark.parametrize("train", [True, False])
def test_a_linen_module(train):
  xs = jax.ShapeDtypeStruct((4, 5, 6), jnp.float32)
  assert rows(summary.of_module(Model(), xs, train=train)) == [
      ("Model", (4, 5, 2), 3, 0),
      ("shared", (4, 5, 6), 36, 6),
      ("gru", (4, 5, 3), 3 * 3 * (6 + 3), 9),
      ("stack/0", None, 4, 0),
      ("stack/1", (4, 5, 3), 4, 0),
      ("a_norm", (4, 5, 3), 3, 3),
      ("branch/map", (4, 5, 2), 6, 2),
  ]


def test_the_total_of_a_language_model_is_that_of_its_parameters():
  model, ids = RecurrentLanguageModel(11, 4, 6, 2, cell="lstm"), jnp.zeros((2, 5), jnp.int32)
  table = summary.of_module(model, ids)
  params = jax.eval_shape(model.init, jax.random.key(0), ids)["params"]
  assert table.total == sum(p.size for p in jax.tree.leaves(params))
  assert [row.layer for row in table.rows] == ["embedding", "recurrent/0", "recurrent/1", "output"]
  assert table.biases == 4 * 6 + 4 * 6 + 11


TABLE = Table((Row("conv", (54, 54, 96), 34_848, 96), Row("sum", ()), Row("?", None, 1)))


def test_a_table_as_text():
  assert str(TABLE).splitlines() == [
      "layer  output shape  weights  biases   total",
      "--------------------------------------------",
      "conv   54 x 54 x 96   34,848      96  34,944",
      "sum    1                   0       0       0",
      "?                          1       0       1",
      "--------------------------------------------",
      "total                 34,849      96  34,945",
  ]


def test_a_table_in_markdown():
  assert TABLE.markdown().splitlines() == [
      "| layer | output shape | weights | biases | total |",
      "| --- | --- | ---: | ---: | ---: |",
      "| conv | 54 x 54 x 96 | 34,848 | 96 | 34,944 |",
      "| sum | 1 | 0 | 0 | 0 |",
      "| ? |  | 1 | 0 | 1 |",
      "| total |  | 34,849 | 96 | 34,945 |",
  ]


def test_a_table_drawn_by_rich():
  text = io.StringIO()
  rich.console.Console(file=text, width=80).print(TABLE)
  lines = [
      [cell.strip() for cell in line.split("│")[1:-1]] for line in text.getvalue().splitlines()
  ]
  assert ["conv", "54 x 54 x 96", "34,848", "96", "34,944"] in lines
  assert ["total", "", "34,849", "96", "34,945"] in lines


def test_tables_are_added():
  both = TABLE + Table((Row("next", (3,), 5, 1),))
  assert (len(both.rows), both.weights, both.biases, both.output) == (4, 34_854, 97, (3,))


def test_a_layer_that_does_not_take_its_input_is_named():
  with pytest.raises(ValueError, match=r"layers: 'lstm' does not take shape \(3,\): xs: expected"):
    summary.of_layers([summary.linear(3), summary.lstm(4)], (7,))
  branches = summary.concat([summary.linear(3)], [summary.max_pool(2)])
  with pytest.raises(ValueError, match=r"'concat' cannot join shapes \(4, 4, 3\), \(2, 2, 2\)"):
    summary.of_layers([branches], (4, 4, 2))
