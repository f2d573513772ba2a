"""Every mistake listed in ERRATA.md names a test that exists."""

import pathlib
import re

FOLDER = pathlib.Path(__file__).parent
HEAD = "question"


def rows():
  """The last cell of each row of the tables."""
  lines = (FOLDER / "ERRATA.md").read_text(encoding="utf-8").splitlines()
  cells = [line.strip("|").split("|") for line in lines if line.startswith("|")]
  return [row[-1] for row in cells if row[0].strip() != HEAD and set(row[0].strip()) != {"-"}]


def test_each_row_names_its_test():
  assert len(rows()) > 20
  for row in rows():
    names = re.findall(r"`(test_\w+\.py)::(test_\w+)`", row)
    assert names, row
    for file, name in names:
      assert f"def {name}(" in (FOLDER / file).read_text(encoding="utf-8"), (file, name)
