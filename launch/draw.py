"""Draws a computation as SVG: a recurrent network unrolled over time, or any function.

  python -m launch.draw --network=lstm --steps=4 --layers=2 --output=lstm.svg
  python -m launch.draw --function=my_module:my_function --shapes=3x4,4 --output=function.svg

A weight, or an argument, that is used several times has one colour. The module of --function is
imported, which runs its code: name only code that you trust. The function is traced with arrays
of the given shapes (float32; `8:int32` names another type, `scalar` a number), not computed.
"""

import importlib
import pathlib
import re

from absl import flags

from dlx.errors import UserError
from launch.cli import paths, program

FLAGS = flags.FLAGS
_NODES = 1000  # Nobody reads a larger drawing.


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_enum("network", None, ["rnn", "gru", "lstm"], "The cell of an unrolled network.")
  flags.DEFINE_integer("steps", 4, "Steps of --network.", 1, 100)
  flags.DEFINE_integer("layers", 1, "Layers of --network.", 1, 20)
  flags.DEFINE_string("function", None, "MODULE:NAME; the module is imported.")
  flags.DEFINE_string("shapes", None, "Shapes of the function's arguments: 3x4,4,scalar,8:int32.")
  paths.define("output", "graph.svg", "The drawing, a name that ends in .svg.")


def main() -> None:
  """Writes the drawing."""
  from dlx.reports import graph, graph_svg
  from dlx.runs import files

  if (FLAGS.network is None) == (FLAGS.function is None):
    raise UserError("name one of --network=lstm and --function=MODULE:NAME")
  for name in ("shapes",) if FLAGS.network else ("steps", "layers"):
    if FLAGS[name].present:
      raise UserError(f"--{name} belongs to --{'function' if FLAGS.network else 'network'}")
  output = pathlib.Path(FLAGS.output)
  if output.suffix != ".svg":
    raise UserError(f"--output={output}: expected a name that ends in .svg")
  if FLAGS.network:
    drawn = graph.of_recurrence(FLAGS.network, steps=FLAGS.steps, layers=FLAGS.layers)
  else:
    drawn = traced(FLAGS.function, program.required("shapes"))
  try:
    files.write(output, graph_svg.draw(drawn))
  except OSError as e:
    raise UserError(f"--output={output} cannot be written: {e.strerror}") from None
  for name, uses in drawn.weights.items():
    print(f"{name}: {uses} use{'s' if uses > 1 else ''}")
  print(f"{output} is written: {len(drawn.nodes)} nodes, {len(drawn.edges)} edges")


def traced(name: str, shapes: str):
  """The graph of the function MODULE:NAME for arguments of these shapes.

  Raises:
    UserError: the module cannot be imported, it has no such function, a shape is not valid, the
      function cannot be traced with the shapes, or it has too many operations for a drawing.
  """
  from dlx.reports import graph

  arguments = [_argument(shape) for shape in shapes.split(",")]
  function = _imported(name)
  try:
    drawn = graph.of_function(function, *arguments)
  except Exception as e:  # Whatever the function raises.
    raise UserError(
        f"--function={name} cannot be traced with --shapes={shapes}: {_first_line(e)}"
    ) from None
  if len(drawn.nodes) > _NODES:
    raise UserError(
        f"--function={name} has {len(drawn.nodes):,} arrays and operations; a drawing has at most "
        f"{_NODES:,}: draw a part of it, or write its steps as a loop (jax.lax.scan)"
    )
  return drawn


def _argument(shape: str):
  """The argument that `3x4`, `scalar` or `8:int32` stands for."""
  import jax

  size, _, dtype = shape.strip().partition(":")
  if size != "scalar" and not re.fullmatch(r"[0-9]{1,9}(x[0-9]{1,9})*", size):
    raise UserError(f"--shapes: {shape!r} is not a shape; expected one such as 3x4, 8 or scalar")
  try:
    dtype = jax.numpy.dtype(dtype or "float32")
  except TypeError:
    raise UserError(f"--shapes: {dtype!r} in {shape!r} is not a type of numbers") from None
  return jax.ShapeDtypeStruct(() if size == "scalar" else tuple(map(int, size.split("x"))), dtype)


def _imported(name: str):
  module, _, attribute = name.partition(":")
  if not module or not attribute:
    raise UserError(f"--function={name}: expected MODULE:NAME, such as jax.nn:softmax")
  try:
    found = importlib.import_module(module)
  except (Exception, SystemExit) as e:  # Whatever the module's code raises; a script may exit.
    raise UserError(
        f"--function={name}: the module {module} cannot be imported: {_first_line(e)}"
    ) from None
  function = getattr(found, attribute, None)
  if not callable(function):
    raise UserError(f"--function={name}: the module {module} has no function {attribute!r}")
  return function


def _first_line(error: Exception) -> str:
  return f"{type(error).__name__}: {error}".splitlines()[0]


if __name__ == "__main__":
  program.run(main, define_flags)
