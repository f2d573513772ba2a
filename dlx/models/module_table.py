"""The table of a Linen module: its parameters by the names that they have in a checkpoint."""

from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax

from dlx.models.table import Row, Table, count


def of_module(module: nn.Module, *inputs, **options) -> Table:
  """The table of a Linen module, from shapes alone.

  A line is a module that has arrays of its own (nn.Dense), or a group of parameters that a
  module asks for by `self.param("gru", gru.init, ...)`; the layers of a list are a line
  each. Lines are in the order in which parameters are made, and a module that is called
  twice is there once.

  The output of a module is what it returns, the largest array when that is several. The
  output of a group is what the module sows under its name,
  `self.sow("intermediates", "gru", ys)` (of a list, the last line's), or what the module
  returns when the group is all that it has; otherwise it is not known, and the cell empty.

  Args:
    module: the model.
    *inputs: example inputs, arrays or jax.ShapeDtypeStruct.
    **options: Python values for its call, `train=False`.
  """
  lines = []  # Written while jax traces: the dicts that it returns have sorted keys.

  def trace(*inputs):
    outputs = {}

    def watch(call, args, kwargs, context):
      outputs[context.module.path] = y = call(*args, **kwargs)
      return y

    with nn.intercept_methods(watch):
      _, variables = module.init_with_output(
          jax.random.key(0), *inputs, mutable=True, **options
      )
    sown = variables.get("intermediates", {})
    lines.extend(_lines(variables.get("params", {}), sown, outputs, ()))

  jax.eval_shape(trace, *inputs)
  rows = []
  for path, params, y in lines:
    arrays = [leaf for leaf in jax.tree.leaves(y) if hasattr(leaf, "shape")]
    output = max(arrays, key=lambda leaf: leaf.size).shape if arrays else None
    rows.append(Row("/".join(path) or type(module).__name__, output, **count(params)))
  return Table(tuple(rows))


def _lines(
    params: Mapping, sown: Mapping, outputs: Mapping, path: tuple[str, ...]
) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
  """(path, parameters, output) of each line of the module at `path`."""
  arrays = {name: value for name, value in params.items() if hasattr(value, "shape")}
  if arrays:
    yield path, arrays, outputs.get(path)
  for name, value in params.items():
    here = (*path, name)
    if here in outputs:
      yield from _lines(value, sown.get(name, {}), outputs, here)
    elif name not in arrays:
      y = sown.get(name, outputs.get(path) if len(params) == 1 else None)
      layers = value if isinstance(value, (list, tuple)) else None
      for i, layer in enumerate(layers or ()):
        yield (*here, str(i)), layer, y if i == len(layers) - 1 else None
      if layers is None:
        yield here, value, y
