"""A table of layers with their output shapes and parameters, as text, Markdown or drawn."""

import dataclasses
import math

import jax
import rich.table

COLUMNS = ("layer", "output shape", "weights", "biases", "total")
TEXT_COLUMNS = 2  # The first ones; the others are numbers and end at the right.


@dataclasses.dataclass(frozen=True)
class Row:
  """One line: a layer, the shape of its output, its parameters.

  Attributes:
    layer: its name.
    output: a shape, () for a number; None when it is not known.
    weights: the number of parameters that are not biases.
    biases: the number of biases.
  """

  layer: str
  output: tuple[int, ...] | None
  weights: int = 0
  biases: int = 0

  @property
  def total(self) -> int:
    """Weights and biases."""
    return self.weights + self.biases


@dataclasses.dataclass(frozen=True)
class Table:
  """Rows and their sums; + puts the tables of two parts of a model together.

  `print(table)` gives plain text, `rich.print(table)` draws it, `markdown()` is for files.
  """

  rows: tuple[Row, ...]

  @property
  def output(self) -> tuple[int, ...] | None:
    """The output shape of the last row; None without rows."""
    return self.rows[-1].output if self.rows else None

  @property
  def weights(self) -> int:
    """The weights of all rows."""
    return sum(row.weights for row in self.rows)

  @property
  def biases(self) -> int:
    """The biases of all rows."""
    return sum(row.biases for row in self.rows)

  @property
  def total(self) -> int:
    """All parameters."""
    return self.weights + self.biases

  def __add__(self, other: "Table") -> "Table":
    """The rows of both."""
    return Table(self.rows + other.rows)

  def __str__(self) -> str:
    """Columns of plain text."""
    lines = [COLUMNS, *self._cells()]
    widths = [max(map(len, column)) for column in zip(*lines)]
    head, *rows, totals = (
        "  ".join(
            cell.ljust(width) if i < TEXT_COLUMNS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths))
        )
        for line in lines
    )
    rule = "-" * len(head)
    return "\n".join([head, rule, *rows, rule, totals])

  def markdown(self) -> str:
    """The table in Markdown."""
    marks = ["---" if i < TEXT_COLUMNS else "---:" for i in range(len(COLUMNS))]
    return "\n".join(f"| {' | '.join(line)} |" for line in [COLUMNS, marks, *self._cells()])

  def __rich__(self) -> rich.table.Table:
    """What rich.print draws."""
    table = rich.table.Table(show_footer=True)
    *rows, totals = self._cells()
    for i, (name, sum_) in enumerate(zip(COLUMNS, totals)):
      table.add_column(name, sum_, justify="left" if i < TEXT_COLUMNS else "right")
    for row in rows:
      table.add_row(*row)
    return table

  def _cells(self) -> list[list[str]]:
    """The text of every cell, the totals as the last line."""
    totals = Row("total", None, self.weights, self.biases)
    return [
        [row.layer, _shape(row.output), *(f"{n:,}" for n in (row.weights, row.biases, row.total))]
        for row in (*self.rows, totals)
    ]


def count(params) -> dict[str, int]:
  """How many parameters of a tree are biases by their names, and how many are not."""
  counts = {"weights": 0, "biases": 0}
  for path, leaf in jax.tree.leaves_with_path(params):
    name = str(getattr(path[-1], "key", "")) if path else ""
    counts["biases" if "bias" in name else "weights"] += math.prod(leaf.shape)
  return counts


def _shape(shape):
  if shape is None:
    return ""
  return " x ".join(map(str, shape)) or "1"
