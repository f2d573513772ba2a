"""The tables of README.md and ERRATA.md name tests that exist, and all of them."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent


def rows(table):
  """The last cell of each row of a file's tables."""
  lines = (FOLDER / table).read_text(encoding="utf-8").splitlines()
  cells = [line.strip("|").split("|") for line in lines if line.startswith("|")]
  return [
      row[-1] for row in cells
      if row[0].strip() not in ("question", "section") and set(row[0].strip()) != {"-"}
  ]  # fmt: skip


def test_each_erratum_names_its_test():
  assert len(rows("ERRATA.md")) > 20
  for row in rows("ERRATA.md"):
    names = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
    assert names, row
    for file, name in names:
      assert f"def {name}(" in (FOLDER / file).read_text(encoding="utf-8"), (file, name)


def test_the_table_of_sources_names_every_file():
  named = {name for row in rows("README.md") for name in re.findall(r"`(test_\w+\.py)`", row)}
  files = {path.name for path in FOLDER.glob("test_*.py")} - {pathlib.Path(__file__).name}
  assert named == files
