"""The table of a network: output shapes, parameters and multiply-adds of each layer.

  python -m dlx.models.summary 84,84,4 "conv(32, 8, strides=4, padding='VALID')" \\
      "conv(64, 4, strides=2, padding='VALID')" "conv(64, 3, padding='VALID')" \\
      flatten "linear(512)" "linear(18, name='values')"

prints the table of layers that feed each other, given the shape of one example. In Python:

    table = summary.of_layers([summary.conv(32, 8, strides=4), summary.flatten()], (84, 84, 4))
    print(table)
    table.total, table.rows[0].output

`concat` joins branches that read the same input, as in an inception block. `function` makes
a layer of any y = f(x) without parameters, and `Layer` one of any init and apply. For the
table of a Linen module, see its method `tabulate`.

Nothing is computed: shapes come from `jax.eval_shape` of the functions in dlx.layers.
"""

import argparse
import ast
from collections.abc import Callable, Sequence
import dataclasses
import json
import sys
from typing import Any

import jax
import jax.numpy as jnp

from dlx import exits
from dlx.errors import UserError
from dlx.layers import conv as conv_layer
from dlx.layers import gru as gru_layer
from dlx.layers import linear as linear_layer
from dlx.layers import lstm as lstm_layer
from dlx.layers import pooling
from dlx.layers import rnn as rnn_layer
from dlx.models.layer_table import Row, Table


@dataclasses.dataclass(frozen=True)
class Layer:
  """A layer of the network.

  Attributes:
    name: its name in the table.
    init: `init(rng, shape) -> params` for an input of that shape, without batch dimensions.
    apply: `apply(params, x) -> y`.
  """

  name: str
  init: Callable[[jax.Array, tuple[int, ...]], Any]
  apply: Callable[[Any, jax.Array], jax.Array]

  def rows(self, x: jax.ShapeDtypeStruct) -> tuple[list[Row], jax.ShapeDtypeStruct]:
    """The layer's row and its output for the input x, both as shapes."""
    try:
      params = jax.eval_shape(lambda rng: self.init(rng, x.shape), jax.random.key(0))
      y = jax.eval_shape(self.apply, params, x)
    except (ValueError, TypeError, IndexError) as e:
      raise ValueError(f"layers: {self.name!r} does not take shape {x.shape}: {e}") from e
    counts = {"weights": 0, "biases": 0}
    for path, leaf in jax.tree.leaves_with_path(params):
      counts["biases" if "bias" in jax.tree_util.keystr(path[-1:]) else "weights"] += leaf.size
    return [Row(self.name, y.shape, **counts)], y


@dataclasses.dataclass(frozen=True)
class Concat:
  """Branches that read the same input; their outputs are joined along an axis."""

  name: str
  branches: tuple[Sequence["Layer | Concat"], ...]
  axis: int

  def rows(self, x: jax.ShapeDtypeStruct) -> tuple[list[Row], jax.ShapeDtypeStruct]:
    """The rows of all branches, numbered from 1, and the row of the joined output."""
    rows, outputs = [], []
    for i, branch in enumerate(self.branches, start=1):
      branch_rows, y = _rows(branch, x)
      rows += [dataclasses.replace(row, layer=f"{i}/{row.layer}") for row in branch_rows]
      outputs.append(y)
    try:
      y = jax.eval_shape(lambda ys: jnp.concatenate(ys, self.axis), outputs)
    except (ValueError, TypeError) as e:
      shapes = ", ".join(str(y.shape) for y in outputs)
      raise ValueError(f"layers: {self.name!r} cannot join shapes {shapes}") from e
    return [*rows, Row(self.name, y.shape)], y


def _rows(layers, x):
  """The rows of layers that feed each other, and the last output."""
  rows = []
  for layer in layers:
    more, x = layer.rows(x)
    rows += more
  return rows, x


def of_layers(layers: Sequence[Layer | Concat], shape: tuple[int, ...]) -> Table:
  """The table of layers that feed each other.

  Args:
    layers: made by the functions below.
    shape: the shape of one example, `(H, W, C)`, `(T, D)` or `(D,)`.

  Raises:
    ValueError: a layer does not take the output of the one before it; the message names it.
  """
  return Table(tuple(_rows(layers, jax.ShapeDtypeStruct(tuple(shape), jnp.float32))[0]))


def function(name: str, f: Callable[[jax.Array], jax.Array]) -> Layer:
  """y = f(x), without parameters: `function("relu", jax.nn.relu)`."""
  return Layer(name, lambda rng, shape: {}, lambda params, x: f(x))


def concat(*branches: Sequence[Layer | Concat], axis: int = -1, name="concat") -> Concat:
  """Lists of layers that read the same input, with outputs joined along `axis` (channels)."""
  return Concat(name, branches, axis)


def flatten(name: str = "flatten") -> Layer:
  """Reshapes to one dimension."""
  return function(name, jnp.ravel)


def linear(d_out: int, *, bias: bool = True, name: str = "linear") -> Layer:
  """`dlx.layers.linear`, (..., D) -> (..., d_out)."""
  return Layer(
      name,
      lambda rng, shape: linear_layer.init(rng, shape[-1], d_out, bias=bias),
      linear_layer.apply,
  )


def _kernel_name(name, size, strides):
  """"conv 3x3" or "conv 3x3, stride 2"."""
  height, width = (size, size) if isinstance(size, int) else size
  stride = strides if isinstance(strides, int) else "x".join(map(str, strides))
  return f"{name} {height}x{width}" + (f", stride {stride}" if strides not in (1, (1, 1)) else "")


def conv(c_out: int, kernel_size, *, strides=1, groups=1, bias=True, name=None, **options) -> Layer:
  """`dlx.layers.conv`, (H, W, C) -> (H', W', c_out); options: padding and dilation."""
  return Layer(
      name or _kernel_name("conv", kernel_size, strides),
      lambda rng, shape: conv_layer.init(
          rng, kernel_size, shape[-1], c_out, groups=groups, bias=bias
      ),
      lambda params, x: conv_layer.apply(params, x, strides=strides, groups=groups, **options),
  )


def _pool(kind, size, strides, padding, name):
  strides = size if strides is None else strides
  name = name or _kernel_name(kind, size, strides)
  return function(name, lambda x: getattr(pooling, kind)(x, size, strides, padding))


def max_pool(window, strides=None, *, padding="VALID", name: str | None = None) -> Layer:
  """`dlx.layers.pooling.max_pool`; the strides are the window's size if None."""
  return _pool("max_pool", window, strides, padding, name)


def avg_pool(window, strides=None, *, padding="VALID", name: str | None = None) -> Layer:
  """`dlx.layers.pooling.avg_pool`; the strides are the window's size if None."""
  return _pool("avg_pool", window, strides, padding, name)


def _recurrent(cell, d_hidden, name, **options):
  return Layer(
      name,
      lambda rng, shape: cell.init(rng, shape[-1], d_hidden, **options),
      lambda params, xs: cell.scan(params, xs, **options)[1],
  )


def rnn(d_hidden: int, *, name: str = "rnn") -> Layer:
  """`dlx.layers.rnn`, (T, D) -> (T, d_hidden)."""
  return _recurrent(rnn_layer, d_hidden, name)


def gru(d_hidden: int, *, reset_after: bool = False, name: str = "gru") -> Layer:
  """`dlx.layers.gru`, (T, D) -> (T, d_hidden)."""
  return _recurrent(gru_layer, d_hidden, name, reset_after=reset_after)


def lstm(d_hidden: int, *, name: str = "lstm") -> Layer:
  """`dlx.layers.lstm`, (T, D) -> (T, d_hidden)."""
  return _recurrent(lstm_layer, d_hidden, name)


FACTORIES = (conv, max_pool, avg_pool, flatten, linear, rnn, gru, lstm)


def parse(text: str) -> Layer:
  """The layer of a call such as "conv(32, 8, strides=4)", whose arguments are literals.

  Raises:
    UserError: the text is not a call of one of FACTORIES, or its arguments do not fit.
  """
  factories = {factory.__name__: factory for factory in FACTORIES}
  try:
    call = ast.parse(text if "(" in text else f"{text}()", mode="eval").body
    args = [ast.literal_eval(arg) for arg in call.args]
    options = {keyword.arg: ast.literal_eval(keyword.value) for keyword in call.keywords}
    factory = factories[call.func.id]
  except (SyntaxError, AttributeError, KeyError, ValueError):
    raise UserError(
        f"{text!r} is not a layer; write one as conv(32, 3), with numbers and strings as "
        f"arguments: {', '.join(factories)}"
    ) from None
  try:
    return factory(*args, **options)
  except (TypeError, ValueError) as e:
    raise UserError(f"{text!r}: {e}") from None


def main() -> int:
  """Prints the table of the layers on the command line; returns the exit code."""
  parser = argparse.ArgumentParser(
      prog="python -m dlx.models.summary", description=(__doc__ or "").partition("\n")[0],
      epilog=f"layers: {', '.join(factory.__name__ for factory in FACTORIES)}",
  )  # fmt: skip
  parser.add_argument("shape", help="of one example: H,W,C or T,D or D")
  parser.add_argument("layers", nargs="+", help='as "conv(32, 8, strides=4)" or flatten')
  parser.add_argument("--json", action="store_true", help="print one JSON object")
  arguments = parser.parse_args()
  try:
    sizes = arguments.shape.split(",")
    if not all(size.isdecimal() for size in sizes):
      raise UserError(f"shape: expected sizes such as 84,84,4, got {arguments.shape!r}")
    table = of_layers([parse(text) for text in arguments.layers], map(int, sizes))
    print(json.dumps(table.to_dict()) if arguments.json else table)
  except ValueError as e:
    print(e, file=sys.stderr)
    return 2
  return 0


if __name__ == "__main__":
  sys.exit(exits.code_of(main))
