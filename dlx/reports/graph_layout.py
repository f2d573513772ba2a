"""Places of a graph's nodes, in layers by depth, and the routes of its edges."""

from typing import NamedTuple

from dlx.reports.graph import Edge, Graph

Point = tuple[float, float]
_SWEEPS = 12
_BEND = 0.3  # The width of a bend beside a node's, which is 1.


class Layout(NamedTuple):
  """Places in units of a column and a row.

  Attributes:
    nodes: (column, row) of each node's centre.
    edges: the points between source and target of each edge; () where it is straight.
  """

  nodes: tuple[Point, ...]
  edges: tuple[tuple[Point, ...], ...]


def of(graph: Graph) -> Layout:
  """The places that the nodes have, or layers.

  A node's row is its depth: 1 + the largest of its inputs'. One with a single input, or none,
  is moved to the row above its first use. Edges that pass through rows bend there once, edges of
  one source together. The order within rows, and then the columns, follow the mean of the
  neighbours.

  Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system
    structures" (1981).
  """
  if all(node.place is not None for node in graph.nodes):
    return Layout(tuple(node.place for node in graph.nodes), ((),) * len(graph.edges))
  depth = dict(enumerate(depths(graph)))
  links, bends = _links(graph.edges, depth)  # Adds the depths of bends.
  rows = [[i for i in depth if depth[i] == row] for row in range(max(depth.values()) + 1)]
  column = _columns(rows, links, len(graph.nodes))
  place = {i: (column[i], depth[i]) for i in depth}
  routes = tuple(tuple(place[bend] for bend in bends[edge]) for edge in graph.edges)
  return Layout(tuple(place[i] for i in range(len(graph.nodes))), routes)


def depths(graph: Graph) -> list[int]:
  """The row of each node."""
  above, below = ([set() for _ in graph.nodes] for _ in range(2))
  for source, target, _ in graph.edges:
    above[target].add(source)
    below[source].add(target)
  depth, waiting = [0] * len(graph.nodes), [len(sources) for sources in above]
  order = [i for i, count in enumerate(waiting) if not count]
  for i in order:  # Grows: a node follows all its sources.
    for target in below[i]:
      depth[target] = max(depth[target], depth[i] + 1)
      waiting[target] -= 1
      if not waiting[target]:
        order.append(target)
  for i in reversed(order):
    if below[i] and len(above[i]) <= 1:
      depth[i] = min(depth[target] for target in below[i]) - 1
  return depth


def _links(edges, depth) -> tuple[list[tuple[int, int]], dict[Edge, list[int]]]:
  """The pairs of neighbours in adjacent rows, and the bends of each edge."""
  links, bends, of_source = set(), {}, {}
  for edge in edges:
    before, bends[edge] = edge.source, []
    for row in range(depth[edge.source] + 1, depth[edge.target]):
      bend = of_source.setdefault((edge.source, row), len(depth))
      depth[bend] = row
      links.add((before, bend))
      bends[edge].append(bend)
      before = bend
    links.add((before, edge.target))
  return sorted(links), bends


def _columns(rows, links, num_nodes) -> dict[int, float]:
  """The column of every node and bend."""
  above, below = {}, {}
  for source, target in links:
    above.setdefault(target, []).append(source)
    below.setdefault(source, []).append(target)
  column = {i: float(place) for row in rows for place, i in enumerate(row)}

  def wished(i, *sides):
    near = [column[j] for side in sides for j in side.get(i, ())]
    return sum(near) / len(near) if near else column[i]

  for sweep in range(_SWEEPS):
    down = sweep % 2 == 0
    for row in rows if down else rows[::-1]:
      row.sort(key=lambda i: wished(i, above if down else below))
      column.update({i: float(place) for place, i in enumerate(row)})
  width = [[1.0 if i < num_nodes else _BEND for i in row] for row in rows]
  for sweep in range(_SWEEPS):
    order = list(zip(rows, width))
    for row, widths in order if sweep % 2 == 0 else order[::-1]:
      column.update(zip(row, _apart([wished(i, above, below) for i in row], widths)))
  left = min(column.values())
  return {i: x - left for i, x in column.items()}


def _apart(wished: list[float], widths: list[float]) -> list[float]:
  """Columns near the wished ones, in their order, each pair half its widths apart.

  The mean of the columns that give way to the right only and to the left only: both are far
  enough apart, so their mean is.
  """
  gaps = [(a + b) / 2 for a, b in zip(widths, widths[1:])]
  right, left = wished[:1], wished[-1:]
  for x, gap in zip(wished[1:], gaps):
    right.append(max(x, right[-1] + gap))
  for x, gap in zip(wished[-2::-1], gaps[::-1]):
    left.append(min(x, left[-1] - gap))
  return [(a + b) / 2 for a, b in zip(right, left[::-1])]
