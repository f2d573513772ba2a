"""A graph as SVG: boxes are operations, round ones inputs and outputs; colours, shared weights."""

import math
from xml.etree import ElementTree as xml

from dlx.reports import graph_layout
from dlx.reports.graph import Graph

_COLORS = (
    "#d94801", "#08519c", "#238b45", "#88419d", "#cb181d", "#008080", "#b8860b", "#e377c2",
)  # fmt: skip
_GRAY = "#777777"
_FILL = {"input": "#fff7e6", "operation": "#eef3fa", "state": "#eef3fa", "output": "#e8f5e9"}
_HEIGHT, _ROW, _LINE, _LETTER = 38, 86, 15, 7.3  # Pixels; a letter of the font is this wide.
_MARGIN = 20


def draw(graph: Graph) -> str:
  """The text of an SVG file.

  Weights that are used more than once have a colour each (8 colours, then again from the
  first) and a line in the legend with the number of their uses.
  """
  layout = graph_layout.of(graph)
  lines = [line for node in graph.nodes for line in node.label.split("\n")]
  width = max(48, _LETTER * max(map(len, lines)) + 12)
  shared = [name for name, uses in graph.weights.items() if uses > 1]
  color = {name: _COLORS[i % len(_COLORS)] for i, name in enumerate(shared)}

  def pixels(point):
    return (_MARGIN + (width + 34) * point[0] + width / 2, _MARGIN + _ROW * point[1] + _HEIGHT / 2)

  points = [*layout.nodes, *(point for route in layout.edges for point in route)]
  right, bottom = (max(pixels(point)[i] for point in points) for i in (0, 1))
  legend = [f"{name}: {graph.weights[name]} uses" for name in shared]
  right = max(right + width / 2, _MARGIN + 40 + _LETTER * max(map(len, legend), default=0))
  bottom += _HEIGHT / 2
  size = (right + _MARGIN, bottom + _MARGIN * (1 + len(legend)))
  root = xml.Element("svg", {
      "xmlns": "http://www.w3.org/2000/svg", "width": f"{size[0]:.0f}", "height": f"{size[1]:.0f}",
      "font-family": "monospace", "font-size": "12",
  })  # fmt: skip
  xml.SubElement(root, "rect", {"width": "100%", "height": "100%", "fill": "white"})
  places = [pixels(place) for place in layout.nodes]
  _add_edges(root, graph, places, [[*map(pixels, route)] for route in layout.edges], width, color)
  for node, place in zip(graph.nodes, places):
    _add_node(root, node, place, width)
  for i, (name, text) in enumerate(zip(shared, legend)):
    y = bottom + _MARGIN * (i + 1)
    line = {"x1": _MARGIN, "x2": _MARGIN + 30, "y1": y, "y2": y, "stroke-width": 2}
    xml.SubElement(root, "line", {**_text(line), "stroke": color[name]})
    label = xml.SubElement(root, "text", _text({"x": _MARGIN + 38, "y": y + 4}))
    label.text = text
  xml.indent(root)
  return xml.tostring(root, encoding="unicode") + "\n"


def _add_edges(root, graph, places, routes, width, color) -> None:
  drawn = {}
  for edge, route in zip(graph.edges, routes):
    ends = (edge.source, edge.target)
    drawn[ends] = drawn.get(ends, -1) + 1
    beside = 10 * (-1) ** drawn[ends] * -(-drawn[ends] // 2)  # Of several between the same nodes.
    source, target = (places[i] for i in ends)
    points = [
        _border(source, (route or [target])[0], width, beside),
        *route,
        _border(target, (route or [source])[-1], width, beside),
    ]
    stroke = color.get(edge.weight, _GRAY)
    line = xml.SubElement(root, "polyline", {
        "points": _points(points), "fill": "none", "stroke": stroke, "stroke-width": "1.5",
        "stroke-linejoin": "round",
    })  # fmt: skip
    if edge.weight:
      xml.SubElement(line, "title").text = edge.weight
    xml.SubElement(root, "polygon", {"points": _points(_head(*points[-2:])), "fill": stroke})


def _head(before, end) -> list[tuple[float, float]]:
  """An arrow's head: a triangle. Markers of SVG are not drawn by all programs."""
  length = math.dist(before, end) or 1
  x, y = ((b - a) / length for a, b in zip(before, end))
  back = (end[0] - 9 * x, end[1] - 9 * y)
  return [end, (back[0] - 4 * y, back[1] + 4 * x), (back[0] + 4 * y, back[1] - 4 * x)]


def _points(points) -> str:
  return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _border(node, other, width, beside) -> tuple[float, float]:
  """Where an edge to or from `other` meets the box of a node."""
  (x, y), sign = node, lambda a, b: (a > b) - (a < b)
  if y == other[1]:
    return x + sign(other[0], x) * width / 2, y + beside
  return x + beside, y + sign(other[1], y) * _HEIGHT / 2


def _add_node(root, node, place, width) -> None:
  x, y = place
  box = {"x": x - width / 2, "y": y - _HEIGHT / 2, "width": width, "height": _HEIGHT}
  round_ = {"rx": 3 if node.kind in ("operation", "state") else _HEIGHT / 2}
  style = {"fill": _FILL[node.kind], "stroke": "#555555"}
  xml.SubElement(root, "rect", {**_text(box), **_text(round_), **style})
  lines = node.label.split("\n")
  for i, line in enumerate(lines):
    at = {"x": x, "y": y + 4 + _LINE * (i - (len(lines) - 1) / 2), "text-anchor": "middle"}
    xml.SubElement(root, "text", _text(at)).text = line


def _text(attributes: dict) -> dict[str, str]:
  return {key: value if isinstance(value, str) else f"{value:.1f}"
          for key, value in attributes.items()}  # fmt: skip
