"""The table of a model: its layers, their output shapes, weights and biases.

For a list of layers of dlx, in the order of the data; input sizes follow from the layer
before:

    from dlx.models import summary

    table = summary.of_layers([
        summary.conv(32, 8, strides=4, padding="VALID"),
        summary.conv(64, 4, strides=2, padding="VALID"),
        summary.conv(64, 3, padding="VALID"),
        summary.flatten(),
        summary.linear(512),
        summary.linear(18, name="values"),
    ], (84, 84, 4))
    print(table)             # rich.print(table) draws it, table.markdown() is for a file
    table.total              # 1693362; table.weights, table.biases, table.output likewise
    table.rows[0].output     # (20, 20, 32); a row has layer, output, weights, biases, total

Shapes are those of one example. Branches side by side, as in an inception block:

    summary.concat(
        [summary.conv(1, 1, name="h1")],
        [summary.max_pool(3, 1, padding=((1, 1), (1, 1))), summary.conv(1, 1)],
    )

What is not here: `summary.function(name, f)` for any y = f(x) without parameters, and
`summary.Layer(name, init, apply)` with them. For a Linen module and example inputs:

    print(summary.of_module(model, ids))

Nothing is computed. Shapes are what `jax.eval_shape` finds for the functions of
dlx.layers, and the numbers of parameters what it finds for their `init`.
"""

from collections.abc import Callable, Sequence
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from dlx.layers import attention as attention_layer
from dlx.layers import conv as conv_layer
from dlx.layers import embedding as embedding_layer
from dlx.layers import gru as gru_layer
from dlx.layers import linear as linear_layer
from dlx.layers import lstm as lstm_layer
from dlx.layers import norm, pooling
from dlx.layers import rnn as rnn_layer
from dlx.models.module_table import of_module
from dlx.models.table import Row, Table, count

__all__ = ["of_layers", "of_module"]


@dataclasses.dataclass(frozen=True)
class Layer:
  """A line of the table.

  Attributes:
    name: as it is printed.
    init: `init(rng, shape) -> params` for an input of that shape, without batch dimensions.
    apply: `apply(params, x) -> y`.
  """

  name: str
  init: Callable[[jax.Array, tuple[int, ...]], Any]
  apply: Callable[[Any, jax.Array], jax.Array]

  def rows(self, x: jax.ShapeDtypeStruct) -> tuple[list[Row], jax.ShapeDtypeStruct]:
    """The layer's line and its output for x, both as shapes alone."""
    try:
      params = jax.eval_shape(lambda rng: self.init(rng, x.shape), jax.random.key(0))
      y = jax.eval_shape(self.apply, params, x)
    except (ValueError, TypeError, IndexError) as e:
      raise ValueError(f"layers: {self.name!r} does not take shape {x.shape}: {e}") from e
    return [Row(self.name, y.shape, **count(params))], y


@dataclasses.dataclass(frozen=True)
class Concat:
  """Branches over the same input, whose outputs are joined along an axis."""

  name: str
  branches: tuple[Sequence["Layer | Concat"], ...]
  axis: int

  def rows(self, x: jax.ShapeDtypeStruct) -> tuple[list[Row], jax.ShapeDtypeStruct]:
    """The lines of all branches, numbered from 1, and that of the joint output."""
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
  """The lines of layers one after the other, and the last output."""
  rows = []
  for layer in layers:
    more, x = layer.rows(x)
    rows += more
  return rows, x


def of_layers(layers: Sequence[Layer | Concat], shape: tuple[int, ...]) -> Table:
  """The table of layers that feed each other.

  Args:
    layers: what the functions below make.
    shape: of one example, `(H, W, C)`, `(T, D)`, `(D,)`, or `(T,)` of ids.

  Raises:
    ValueError: a layer does not take what the one before it gives; the message has its name.
  """
  return Table(tuple(_rows(layers, jax.ShapeDtypeStruct(tuple(shape), jnp.float32))[0]))


def function(name: str, f: Callable[[jax.Array], jax.Array]) -> Layer:
  """y = f(x), without parameters: `function("relu", jax.nn.relu)`."""
  return Layer(name, lambda rng, shape: {}, lambda params, x: f(x))


def concat(
    *branches: Sequence[Layer | Concat], axis: int = -1, name: str = "concat"
) -> Concat:
  """Lists of layers over the same input, their outputs joined along `axis` (channels)."""
  return Concat(name, branches, axis)


def flatten(name: str = "flatten") -> Layer:
  """All dimensions as one."""
  return function(name, jnp.ravel)


def linear(d_out: int, *, bias: bool = True, name: str = "linear") -> Layer:
  """`dlx.layers.linear` over the last dimension."""
  return Layer(
      name,
      lambda rng, shape: linear_layer.init(rng, shape[-1], d_out, bias=bias),
      linear_layer.apply,
  )


def embedding(vocab_size: int, d: int, *, name: str = "embedding") -> Layer:
  """`dlx.layers.embedding` of ids, (...) -> (..., d)."""
  return Layer(
      name,
      lambda rng, shape: embedding_layer.init(rng, vocab_size, d),
      lambda params, ids: embedding_layer.lookup(params, ids.astype(jnp.int32)),
  )


def _window_name(name, window, strides):
  """"conv 3x3" or "conv 3x3, stride 2"."""
  height, width = (window, window) if isinstance(window, int) else window
  stride = strides if isinstance(strides, int) else "x".join(map(str, strides))
  return f"{name} {height}x{width}" + (f", stride {stride}" if strides not in (1, (1, 1)) else "")


def conv(
    c_out: int, window, *, strides=1, padding="SAME", dilation=1, groups=1, bias=True, name=None
) -> Layer:
  """`dlx.layers.conv` with c_out filters, (H, W, C) -> (H', W', c_out)."""
  options = {"strides": strides, "padding": padding, "dilation": dilation, "groups": groups}
  return Layer(
      name or _window_name("conv", window, strides),
      lambda rng, shape: conv_layer.init(
          rng, window, shape[-1], c_out, groups=groups, bias=bias
      ),
      lambda params, x: conv_layer.apply(params, x, **options),
  )


def _pool(kind, window, strides, padding, name):
  strides = window if strides is None else strides
  pool = getattr(pooling, kind)
  return function(
      name or _window_name(kind, window, strides),
      lambda x: pool(x, window, strides, padding=padding),
  )


def max_pool(window, strides=None, *, padding="VALID", name: str | None = None) -> Layer:
  """`dlx.layers.pooling.max_pool`; windows side by side when no strides are given."""
  return _pool("max_pool", window, strides, padding, name)


def avg_pool(window, strides=None, *, padding="VALID", name: str | None = None) -> Layer:
  """`dlx.layers.pooling.avg_pool`; windows side by side when no strides are given."""
  return _pool("avg_pool", window, strides, padding, name)


def layer_norm(*, bias: bool = True, name: str = "layer_norm") -> Layer:
  """`dlx.layers.norm.layer_norm`; its scale counts as weights."""
  return Layer(
      name, lambda rng, shape: norm.init(rng, shape[-1], bias=bias), norm.layer_norm
  )


def rms_norm(*, name: str = "rms_norm") -> Layer:
  """`dlx.layers.norm.rms_norm`, with a scale and no bias."""
  return Layer(name, lambda rng, shape: norm.init(rng, shape[-1], bias=False), norm.rms_norm)


def batch_norm(*, name: str = "batch_norm") -> Layer:
  """`dlx.layers.norm.batch_norm`; running statistics are no parameters."""

  def apply(params, x):
    return norm.batch_norm(params, norm.init_stats(x.shape[-1]), x, train=False)[0]

  return Layer(name, lambda rng, shape: norm.init(rng, shape[-1]), apply)


def _recurrent(cell, d_hidden, last, name, **options):
  def apply(params, xs):
    _, ys = cell.scan(params, xs, **options)
    return ys[..., -1, :] if last else ys

  return Layer(name, lambda rng, shape: cell.init(rng, shape[-1], d_hidden, **options), apply)


def rnn(d_hidden: int, *, last: bool = False, name: str = "rnn") -> Layer:
  """`dlx.layers.rnn`, (T, D) -> (T, d_hidden), or the last state alone, (d_hidden,)."""
  return _recurrent(rnn_layer, d_hidden, last, name)


def gru(
    d_hidden: int, *, reset_after: bool = False, last: bool = False, name: str = "gru"
) -> Layer:
  """`dlx.layers.gru`, (T, D) -> (T, d_hidden), or the last state alone, (d_hidden,)."""
  return _recurrent(gru_layer, d_hidden, last, name, reset_after=reset_after)


def lstm(d_hidden: int, *, last: bool = False, name: str = "lstm") -> Layer:
  """`dlx.layers.lstm`, (T, D) -> (T, d_hidden), or the last state alone, (d_hidden,)."""
  return _recurrent(lstm_layer, d_hidden, last, name)


def attention(
    num_heads: int,
    *,
    context: tuple[int, int] | None = None,
    bias: bool = True,
    name: str = "attention",
) -> Layer:
  """`dlx.layers.attention.multi_head` over (T, D), or with keys and values from a context.

  context is its shape, (T_context, D_context).
  """
  def init(rng, shape):
    d_context = None if context is None else context[-1]
    return attention_layer.init(rng, shape[-1], d_context=d_context, bias=bias)

  def apply(params, x):
    keys = None if context is None else jnp.zeros(context)
    return attention_layer.multi_head(params, x, keys, num_heads=num_heads)

  return Layer(name, init, apply)
