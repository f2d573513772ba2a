"""Computations as graphs: nodes and edges of known functions, their layout and their drawing."""

import functools
from xml.etree import ElementTree as xml

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import linear
from dlx.reports import graph, graph_layout, graph_svg

F32 = functools.partial(jax.ShapeDtypeStruct, dtype=jnp.float32)


def read(drawn):
  """(labels without shapes, edges between labels)."""
  names = [node.label.partition("\n")[0] for node in drawn.nodes]
  return names, [(names[e.source], names[e.target], e.weight) for e in drawn.edges]


def network(x, w, h):
  for _ in range(3):
    h = jnp.tanh(x + h @ w)
  return h


FUNCTIONS = {
    "a product and a sum": (
        lambda x, y: x * y + x, (F32((4,)), F32((4,))), ["x", "y", "mul", "add", "output"],
        {("x", "mul", "x"), ("y", "mul", "y"), ("mul", "add", ""), ("x", "add", "x"),
         ("add", "output", "")},
    ),
    "numbers stand in the operation": (
        lambda x: 2.0 * x, (F32(()),), ["x", "mul 2.0", "output"],
        {("x", "mul 2.0", "x"), ("mul 2.0", "output", "")},
    ),
    "the argument itself": (lambda x: x, (F32((2,)),), ["x", "output"], {("x", "output", "x")}),
    "two outputs of one operation": (
        lambda x: (jnp.sin(x),) * 2, (F32((2,)),), ["x", "sin", "output 1", "output 2"],
        {("x", "sin", "x"), ("sin", "output 1", ""), ("sin", "output 2", "")},
    ),
    "a jitted function and one with a rule of its own": (
        lambda x: jax.jit(jax.nn.relu)(x), (F32((2,)),), ["x", "max 0.0", "output"],
        {("x", "max 0.0", "x"), ("max 0.0", "output", "")},
    ),
    "a number that goes into a jitted function": (
        lambda x: jax.jit(lambda x, y: x * y)(x, np.float32(3)), (F32((2,)),),
        ["x", "mul 3.0", "output"],
        {("x", "mul 3.0", "x"), ("mul 3.0", "output", "")},
    ),
    "a number without an array": (
        lambda x: x + lax.broadcast(1, (2,)).astype(float), (F32((2,)),),
        ["x", "broadcast_in_dim 1", "convert_element_type", "add", "output"],
        {("broadcast_in_dim 1", "convert_element_type", ""), ("x", "add", "x"),
         ("convert_element_type", "add", ""), ("add", "output", "")},
    ),
    "a dict": (
        linear.apply, ({"kernel": F32((3, 2)), "bias": F32((2,))}, F32((5, 3))), None,
        {("x", "dot_general", "x"), ("params['kernel']", "dot_general", "params['kernel']")},
    ),
    "a loop": (
        lambda xs: jax.lax.scan(lambda c, x: (c + x, None), 0.0, xs)[0], (F32((7,)),),
        ["xs", "scan, 7 steps", "output"],
        {("xs", "scan, 7 steps", "xs"), ("scan, 7 steps", "output", "")},
    ),
}  # fmt: skip


@pytest.mark.parametrize("function, arguments, nodes, edges", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_function_has_the_operations_that_it_is_written_with(function, arguments, nodes, edges):
  found, connected = read(graph.of_function(function, *arguments))
  if nodes is None:
    assert edges <= set(connected)
  else:
    assert found == nodes and set(connected) == edges


def test_nodes_have_shapes_and_closed_arrays_are_constants():
  closed = jnp.arange(3.0)
  drawn = graph.of_function(lambda x: x @ closed, F32((2, 3)))
  labels = [node.label for node in drawn.nodes]
  assert {"x\n2 x 3", "constant 1\n3", "output\n2"} <= set(labels)


def test_an_argument_that_is_used_in_every_step_is_one_node():
  """The loop is written in Python: three products with one w."""
  drawn = graph.of_function(network, F32((4,)), F32((4, 4)), F32((4,)))
  names, _ = read(drawn)
  assert names.count("w") == 1 and names.count("dot_general") == 3
  assert drawn.weights == {"x": 3, "w": 3, "h": 1}


@pytest.mark.parametrize("cell, between", [("rnn", 1), ("gru", 1), ("lstm", 2)])
@pytest.mark.parametrize("steps, layers", [(1, 1), (4, 1), (3, 2)])
def test_an_unrolled_network_shares_its_weights(cell, between, steps, layers):
  """T steps of L layers are T L cells, but 2 L weights, each used in all T steps."""
  drawn = graph.of_recurrence(cell, steps=steps, layers=layers)
  kinds = [node.kind for node in drawn.nodes]
  assert kinds.count("state") == steps * layers
  assert kinds.count("input") == steps + layers and kinds.count("output") == steps
  names = [f"{kind}{layer}" for layer in range(1, layers + 1) for kind in "WU"]
  assert drawn.weights == dict.fromkeys(names, steps)
  # One arrow from below, one (for an LSTM two, h and c) from the step before; then the outputs.
  assert len(drawn.edges) == steps * layers * (1 + between) + steps
  assert len({node.place for node in drawn.nodes}) == len(drawn.nodes)


@pytest.mark.parametrize("options, message", [
    ({"cell": "gur", "steps": 2}, "cell: expected one of rnn, gru, lstm, got 'gur'"),
    ({"cell": "gru", "steps": 0}, "steps: expected at least 1, got 0"),
    ({"cell": "gru", "steps": 1, "layers": 0}, "layers: expected at least 1, got 0"),
])  # fmt: skip
def test_a_network_without_steps_is_refused(options, message):
  with pytest.raises(ValueError, match=message):
    graph.of_recurrence(**options)


def test_arrows_point_down_and_no_two_nodes_overlap():
  drawn = graph.of_function(network, F32((4,)), F32((4, 4)), F32((4,)))
  layout = graph_layout.of(drawn)
  for edge, route in zip(drawn.edges, layout.edges):
    rows = [layout.nodes[edge.source][1], *(row for _, row in route), layout.nodes[edge.target][1]]
    assert rows == list(range(rows[0], rows[-1] + 1)) and len(rows) > 1
  for i, (x, row) in enumerate(layout.nodes):
    for other, other_row in layout.nodes[:i]:
      assert row != other_row or abs(x - other) >= 1 - 1e-9


def test_what_has_one_source_or_none_is_above_its_first_use():
  """x and the late weight w: the row of w is not the first."""
  drawn = graph.of_function(lambda x, w: jnp.exp(jnp.sin(jnp.cos(x))) * -w, F32(()), F32(()))
  rows = dict(zip((n.label.partition("\n")[0] for n in drawn.nodes), graph_layout.depths(drawn)))
  assert rows == {"x": 0, "cos": 1, "sin": 2, "exp": 3, "w": 2, "neg": 3, "mul": 4, "output": 5}


def elements(text, name):
  return xml.fromstring(text).findall(f"{{http://www.w3.org/2000/svg}}{name}")


@pytest.mark.parametrize("drawn", [
    graph.of_recurrence("lstm", steps=3, layers=2),
    graph.Graph((graph.Node("a<b & 'c'", "input"), graph.Node("]]>", "output")),
                (graph.Edge(0, 1, "a<b"),)),
])  # fmt: skip
def test_a_drawing_is_valid_xml_with_every_label_and_edge(drawn):
  text = graph_svg.draw(drawn)
  lines = [line for node in drawn.nodes for line in node.label.split("\n")]
  assert [e.text for e in elements(text, "text")][: len(lines)] == lines
  assert len(elements(text, "polyline")) == len(elements(text, "polygon")) == len(drawn.edges)


def test_a_shared_weight_has_one_colour_of_its_own():
  drawn = graph.of_recurrence("gru", steps=3, layers=2)
  lines = elements(graph_svg.draw(drawn), "polyline")
  colors = {}
  for edge, line in zip(drawn.edges, lines):
    colors.setdefault(edge.weight, set()).add(line.get("stroke"))
  assert all(len(found) == 1 for found in colors.values())
  assert len(set.union(*colors.values())) == 5  # W1, U1, W2, U2, and none.
