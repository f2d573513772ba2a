"""A computation as a graph of plain values: of a function, or of a network unrolled over time.

    graph.of_function(f, x, w)                        # an operation of the jaxpr in each node
    graph.of_recurrence("lstm", steps=4, layers=2)    # a cell at each step and layer

dlx.reports.graph_layout places the nodes, dlx.reports.graph_svg draws them.
"""

from collections.abc import Callable
import inspect
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal
import numpy as np

from dlx.reports import jaxprs

CELLS = {"rnn": "h", "gru": "h", "lstm": "c, h"}  # And the names of their states.


class Node(NamedTuple):
  """A box of the drawing.

  Attributes:
    label: its text, one or two lines.
    kind: "input", "operation", "state" or "output".
    place: (column, row), counted from the top left; None where a layout finds it.
  """

  label: str
  kind: str
  place: tuple[int, int] | None = None


class Edge(NamedTuple):
  """An arrow.

  Attributes:
    source, target: indices of nodes.
    weight: the parameters, or the argument, that are used here; "" if none.
  """

  source: int
  target: int
  weight: str = ""


class Graph(NamedTuple):
  """Nodes and the edges between them."""

  nodes: tuple[Node, ...]
  edges: tuple[Edge, ...]

  @property
  def weights(self) -> dict[str, int]:
    """{weight: the number of its uses}; a shared weight is one entry."""
    names = [edge.weight for edge in self.edges if edge.weight]
    return {name: names.count(name) for name in names}


def of_recurrence(cell: str, *, steps: int, layers: int = 1) -> Graph:
  """A recurrent network unrolled over time: layer l has the input weights Wl and the hidden Ul.

  The columns are time, h_0 first; the rows are outputs, the layers from last to first, inputs.
  An LSTM's cell state c passes from step to step beside h, without weights.

  Raises:
    ValueError: the cell is unknown, or steps or layers are below 1.
  """
  if cell not in CELLS:
    raise ValueError(f"cell: expected one of {', '.join(CELLS)}, got {cell!r}")
  for name, number in (("steps", steps), ("layers", layers)):
    if number < 1:
      raise ValueError(f"{name}: expected at least 1, got {number}")
  nodes, edges = [], []

  def add(label, kind, column, row):
    nodes.append(Node(label, kind, (column, row)))
    return len(nodes) - 1

  states = CELLS[cell].split(", ")
  below = [add(f"x_{t}", "input", t, layers + 1) for t in range(1, steps + 1)]
  for layer in range(1, layers + 1):
    row = layers + 1 - layer
    before = add(", ".join(f"{s}_0" for s in states), "input", 0, row)
    for t in range(1, steps + 1):
      state = ", ".join(f"{s}_{t}" for s in states)
      here = add(f"{cell.upper()} {layer}\n{state}", "state", t, row)
      edges.append(Edge(below[t - 1], here, f"W{layer}"))
      edges.append(Edge(before, here, f"U{layer}"))
      if cell == "lstm":
        edges.append(Edge(before, here))
      below[t - 1] = before = here
  for t, state in enumerate(below, 1):
    edges.append(Edge(state, add(f"y_{t}", "output", t, 0)))
  return Graph(tuple(nodes), tuple(edges))


def of_function(function: Callable, *arguments: Any) -> Graph:
  """The operations of function(*arguments), traced: nothing is computed.

  A node is an operation with the shape of its result, an array of the arguments, or an array
  that the function closes over. Calls of jitted functions are expanded; a loop is one node.

  Args:
    function: of arrays, or of lists and dicts of arrays.
    *arguments: arrays or jax.ShapeDtypeStruct.
  """
  closed = jax.make_jaxpr(function)(*arguments)
  nodes, edges, known = [], [], {}
  jaxpr = closed.jaxpr
  names = [*_names(function, arguments), *(f"constant {i + 1}" for i in range(len(closed.consts)))]
  for name, variable in zip(names, [*jaxpr.invars, *jaxpr.constvars]):
    known[variable] = len(nodes)
    nodes.append(Node(f"{name}\n{_shape(variable)}", "input"))
  _add_equations(jaxpr, known, nodes, edges)
  for i, variable in enumerate(jaxpr.outvars):
    label = "output" if len(jaxpr.outvars) == 1 else f"output {i + 1}"
    nodes.append(Node(f"{label}\n{_shape(variable)}", "output"))
    _connect([variable], known, nodes, edges)
  return Graph(tuple(nodes), tuple(edges))


def _add_equations(jaxpr, known, nodes, edges) -> None:
  """Adds nodes and edges; `known` has the node of each variable, or the text of a number."""
  for equation in jaxpr.eqns:
    sources = [_source(v, known) for v in equation.invars]
    inner = jaxprs.called(equation)
    if inner is not None:
      known.update(zip(inner.invars, sources))
      known.update(dict.fromkeys(inner.constvars, "constant"))
      _add_equations(inner, known, nodes, edges)
      known.update(zip(equation.outvars, [_source(v, known) for v in inner.outvars]))
      continue
    name = equation.primitive.name
    if name == "scan":
      name = f"scan, {equation.params['length']} steps"
    else:
      name = " ".join([name, *(s for s in sources if isinstance(s, str))])
    shapes = ", ".join(map(_shape, equation.outvars))
    nodes.append(Node(f"{name}\n{shapes}", "operation"))
    _connect(equation.invars, known, nodes, edges)
    known.update(dict.fromkeys(equation.outvars, len(nodes) - 1))


def _source(variable, known) -> int | str:
  return str(np.asarray(variable.val)) if isinstance(variable, Literal) else known[variable]


def _connect(variables, known, nodes, edges) -> None:
  """Adds the edges from the sources of variables to the last node."""
  for source in [_source(v, known) for v in variables]:
    if not isinstance(source, str):
      node = nodes[source]
      weight = node.label.partition("\n")[0] if node.kind == "input" else ""
      edges.append(Edge(source, len(nodes) - 1, weight))


def _names(function, arguments) -> list[str]:
  """A name for each array of the arguments: the parameter's, with the keys below it."""
  try:
    parameters = [p.name for p in inspect.signature(function).parameters.values()
                  if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]  # fmt: skip
  except (TypeError, ValueError):  # A function of C has no signature.
    parameters = []
  parameters += [f"argument {i + 1}" for i in range(len(parameters), len(arguments))]
  leaves, _ = jax.tree_util.tree_flatten_with_path(arguments)
  return [parameters[path[0].idx] + jax.tree_util.keystr(path[1:]) for path, _ in leaves]


def _shape(variable) -> str:
  shape = getattr(variable.aval, "shape", ())
  return " x ".join(map(str, shape)) or "scalar"
