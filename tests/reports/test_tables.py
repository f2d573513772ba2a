"""Tables are shown literally, and are complete where no terminal limits them."""

import io

import pytest
from rich.console import Console

from dlx.reports import tables

HEADERS = ("run", "data.text", "validation/loss")
ROW = ("transformer_" + "x" * 60, "/data/[old]/" + "y" * 60 + "[/new].txt", "1.5000")


def shown(**options):
  file = io.StringIO()
  table = tables.Table(*HEADERS)
  table.add_row(*ROW)
  Console(file=file, **options).print(table)
  return file.getvalue()


@pytest.mark.filterwarnings("error")
def test_a_table_in_a_file_is_complete():
  _, headers, _, row, *_ = shown().splitlines()
  assert headers.split() == list(HEADERS) and row.split() == list(ROW)


@pytest.mark.parametrize("width", [40, 80])
def test_a_table_on_a_terminal_fits_it(width):
  lines = shown(width=width, force_terminal=True, color_system=None).splitlines()
  assert max(map(len, lines)) == width


def test_a_narrow_table_does_not_narrow_what_is_printed_after_it():
  console = Console(file=io.StringIO(), width=100)
  console.print(tables.Table("a"))
  console.print("z" * 100)
  assert "z" * 100 in console.file.getvalue()


def test_columns_can_be_added_and_aligned():
  table = tables.Table("name")
  table.add_column("[bold]", justify="right")
  table.add_row("a", "1")
  table.add_row("b", "[/]")
  file = io.StringIO()
  Console(file=file).print(table)
  assert [line.split() for line in file.getvalue().splitlines()[3:5]] == [["a", "1"], ["b", "[/]"]]
  assert "[bold]" in file.getvalue()
