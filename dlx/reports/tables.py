"""Tables of plain text: as wide as a terminal, or as their content in a file or a pipe."""

import rich.box
from rich.console import Console, ConsoleOptions, RenderResult
import rich.table
from rich.text import Text


class Table(rich.table.Table):
  """A rich table whose cells and headers are shown literally, without markup such as [bold].

  A terminal's width cuts columns; where the output is no terminal, there is no width to fit.
  """

  def __init__(self, *headers: str):
    """A table with these columns."""
    super().__init__(box=rich.box.SIMPLE)
    for header in headers:
      self.add_column(header)

  def add_column(self, header: str, **options) -> None:
    """As rich's, with plain text."""
    super().add_column(Text(header), **options)

  def add_row(self, *cells: str) -> None:
    """As rich's, with plain text."""
    super().add_row(*map(Text, cells))

  def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
    """Renders the table; widens the console to it where that is no terminal."""
    if not console.is_terminal:
      needed = self.__rich_measure__(console, options.update(max_width=10**6)).maximum
      console.width = max(console.width, needed)  # The console cuts lines at its width.
      options = options.update(width=console.width)
    yield from super().__rich_console__(console, options)
