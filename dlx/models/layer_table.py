"""A table of layers: output shapes, parameters and multiply-adds."""

import dataclasses
import math
from typing import Any

FIGURES = ("weights", "biases", "total", "multiply_adds")


@dataclasses.dataclass(frozen=True)
class Row:
  """One line of the table.

  Attributes:
    layer: its name.
    output: the shape of its output.
    weights: the number of parameters that are not biases.
    biases: the number of biases.
  """

  layer: str
  output: tuple[int, ...]
  weights: int = 0
  biases: int = 0

  @property
  def total(self) -> int:
    """The number of parameters."""
    return self.weights + self.biases

  @property
  def multiply_adds(self) -> int:
    """Weights times output positions, as each weight is used once per position."""
    return self.weights * math.prod(self.output[:-1])


@dataclasses.dataclass(frozen=True)
class Table:
  """The rows of a network and their sums; `print` shows them in columns."""

  rows: tuple[Row, ...]

  output = property(lambda self: self.rows[-1].output, doc="The output shape of the last row.")
  weights = property(lambda self: self._sum("weights"))
  biases = property(lambda self: self._sum("biases"))
  total = property(lambda self: self._sum("total"))
  multiply_adds = property(lambda self: self._sum("multiply_adds"))

  def _sum(self, name):
    return sum(getattr(row, name) for row in self.rows)

  def to_dict(self) -> dict[str, Any]:
    """{"layers": the rows, and the sums "weights", "biases", "total" and "multiply_adds"}."""
    figures = lambda row: {name: getattr(row, name) for name in FIGURES}  # noqa: E731
    rows = [{"layer": r.layer, "output": list(r.output), **figures(r)} for r in self.rows]
    return {"layers": rows, **figures(self)}

  def __str__(self) -> str:
    """Columns of text, with the sums in the last line."""
    lines = [["layer", "output", *(name.replace("_", "-") for name in FIGURES)]]
    for row in (*self.rows, self):
      first = ["total", ""] if row is self else [row.layer, " x ".join(map(str, row.output))]
      lines.append(first + [f"{getattr(row, name):,}" for name in FIGURES])
    widths = [max(map(len, column)) for column in zip(*lines)]
    head, *rows, totals = (
        "  ".join(f"{cell:{'<' if i < 2 else '>'}{width}}"
                  for i, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    )  # fmt: skip
    rule = "-" * len(head)
    return "\n".join([head, rule, *rows, rule, totals])
