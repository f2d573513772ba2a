"""Tables, .csv, .tsv and .jsonl files, as columns of strings."""

from collections.abc import Iterator, Sequence
import contextlib
import csv
import io
import json
import math
import pathlib
import re
from typing import Any, NamedTuple

from dlx.data import files
from dlx.data import text as text_files
from dlx.errors import UserError

_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_USUAL = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (*_USUAL, ".jsonl")


class Table(NamedTuple):
  """Some columns of a table.

  Attributes:
    columns: a list per column; a string per row, or None where a JSON object has no value.
    notices: a line for each thing that was guessed.
  """

  columns: list[list[str | None]]
  notices: list[str]


def read(path: str | pathlib.Path, names: Sequence[str]) -> Table:
  """The columns of a table with the given names, in their order.

  A .csv or .tsv file has the names in its first row; blanks around them do not count. Its
  separator is that of its suffix, or the one of comma, semicolon, tab and vertical bar with
  which the first row has the names. Quotes are those of RFC 4180. Where tabs separate, quotes
  are often plain characters: if every line has as many tabs as the first one, a line is a row,
  and a value loses its quotes only if they enclose it. A .jsonl file has a JSON object per
  line; a null or NaN is no value.

  Args:
    path: the file, in UTF-8 or with a byte order mark.
    names: the names of the columns.

  Raises:
    UserError: the file cannot be read, a row is malformed (the message has its number), or a
      column is missing or occurs twice.

  Source: RFC 4180, "Common format and MIME type for comma-separated values" (2005).
  """
  path = pathlib.Path(path)
  content = files.read_bytes(path, ".csv, .tsv or .jsonl file")
  suffix = path.suffix.lower()
  if suffix not in SUFFIXES:
    raise UserError(f"{path}: expected a .csv, .tsv or .jsonl file, got {path.suffix!r}")
  text = text_files.decode(content, path)
  if suffix == ".jsonl":
    return Table(_json_columns(path, text, names), [])
  with _values_of_any_length(text):
    return _separated(path, text, names, _USUAL[suffix])


def expect_filled(
    path: str | pathlib.Path, names: Sequence[str], columns: Sequence[Sequence[str | None]]
) -> None:
  """Raises UserError if a value of a column is missing or blank, with its row."""
  for name, values in zip(names, columns):
    missing = [row for row, value in enumerate(values, 1) if not (value or "").strip()]
    if missing:
      count = f"; {len(missing)} rows have none" if len(missing) > 1 else ""
      raise UserError(f"{path}: row {missing[0]} has no {name}{count}")


def number(text: str | None, where: str, name: str, hint: str) -> float:
  """A value of a table as a finite number.

  Args:
    text: the value.
    where: the file and the row, for the message.
    name: of the column.
    hint: what to do if there is no value.

  Raises:
    UserError: there is no value, or it is not a finite number.
  """
  text = (text or "").strip()
  if text.lower() in ("", "nan", "na", "n/a", "null", "none"):
    raise UserError(f"{where} has no {name}; {hint}")
  try:
    value = math.nan if "_" in text else float(text)  # Python reads 1_000 as 1000.
  except ValueError:
    value = math.nan
  if not math.isfinite(value):
    raise UserError(f"{where}: expected a number as {name}, such as -1.5e3, got {text!r}")
  return value


def column_names(path: str | pathlib.Path, known: str) -> list[str]:
  """The names of all columns of a table that has the column `known`; for `read`.

  Raises:
    UserError: the file cannot be read, or it has no such column.
  """
  read(path, [known])
  path = pathlib.Path(path)
  text = text_files.decode(files.read_bytes(path, ".csv, .tsv or .jsonl file"), path)
  if path.suffix.lower() == ".jsonl":
    rows = (json.loads(line) for line in text.split("\n") if line.strip(" \t\r"))
    return list(dict.fromkeys(name for row in rows for name in row))
  text = re.sub("^sep=[,;\t|]\r?\n", "", text)
  headers = (_header(text, separator) for separator in (_USUAL[path.suffix.lower()], *_SEPARATORS))
  return next(header for header in headers if known in header)


def _separated(path, text, names, usual) -> Table:
  if named := re.match("sep=([,;\t|])\r?\n", text):  # A first line for Excel.
    usual, text = named[1], text[named.end() :]
  fitting = [s for s in (usual, *_SEPARATORS) if set(names) <= set(_header(text, s))]
  separator, notices = fitting[0] if fitting else usual, []
  if separator != usual:
    notices.append(f"{path}: {_SEPARATORS[separator]}, not {_SEPARATORS[usual]}, separate columns")
  rows = _rows_of_lines(text) if separator == "\t" else None
  if rows:
    values = [value for row in rows for value in row if value.startswith('"')]
    stray = sum(_unquoted(value) == value for value in values)
    rows = [[_unquoted(value) for value in row] for row in rows]
    if stray:
      notices.append(f"{path}: values that begin with a quote that does not close: {stray}")
  else:
    rows = _rows(path, text, separator)
  if not rows:
    raise UserError(f"{path} cannot be read: Empty CSV file")
  header = [name.strip() for name in rows[0]]
  columns = [_index(path, name, header) for name in names]
  return Table([[row[i] for row in rows[1:]] for i in columns], notices)


def _index(path, name, header) -> int:
  count = header.count(name)
  if not count:
    one = f"; expected columns separated by {_SEPARATORS[',']}, {_SEPARATORS[';']} or tabs"
    hint = one if len(header) == 1 else ""
    raise UserError(f"{path} has no column {name!r}; it has {', '.join(header)}{hint}")
  if count > 1:
    raise UserError(f"{path} has {count} columns named {name!r}; rename all but one")
  return header.index(name)


@contextlib.contextmanager
def _values_of_any_length(text: str) -> Iterator[None]:
  """In place of the csv module's limit of 131,072 characters."""
  limit = csv.field_size_limit(max(1, len(text)))
  try:
    yield
  finally:
    csv.field_size_limit(limit)


def _reader(text: str, separator: str):
  return csv.reader(
      io.StringIO(text, newline=""), delimiter=separator, strict=True,
      skipinitialspace=separator != "\t",
  )  # fmt: skip


def _header(text: str, separator: str) -> list[str]:
  try:
    first = next((row for row in _reader(text, separator) if not _is_blank(row)), [])
  except csv.Error:
    return []
  return [name.strip() for name in first]


def _is_blank(row: list[str]) -> bool:
  return not "".join(row).strip() and len(row) < 2


def _rows(path, text, separator) -> list[list[str]]:
  """The rows with the header, all of one length."""
  reader, rows = _reader(text, separator), []
  try:
    for row in reader:
      if _is_blank(row):
        continue
      rows.append(row)
      where = _place(path, len(rows) - 1, reader.line_num)
      if len(row) != len(rows[0]):
        raise UserError(f"{where}: expected {len(rows[0])} columns, got {len(row)}")
      # Stray quotes that join two rows enclose a tab and a line end.
      if separator == "\t" and any("\t" in v and ("\n" in v or "\r" in v) for v in row):
        raise UserError(
            f"{where}: quotes enclose tabs and line ends, and so may join rows by mistake; "
            f"remove stray quotes, or write the table as .jsonl"
        )
  except csv.Error as e:
    where = _place(path, len(rows), reader.line_num)
    raise UserError(f'{where}: a wrong quote, {e}; write quotes as "a ""good"" film"') from None
  return rows


def _place(path, row: int, line: int) -> str:
  """Where an error is; rows are counted below the header, which is row 0."""
  return f"{path}: {f'row {row}' if row else 'the header'} (line {line})"


def _rows_of_lines(text: str) -> list[list[str]] | None:
  """A row per line; None unless all lines have the same number of tabs."""
  lines = (line.rstrip("\r\n") for line in io.StringIO(text, newline=""))
  rows = [line.split("\t") for line in lines if line.strip(" ")]
  return rows if len({len(row) for row in rows}) == 1 else None


def _unquoted(value: str) -> str:
  if len(value) > 1 and value[0] == value[-1] == '"' and '"' not in value[1:-1].replace('""', ""):
    return value[1:-1].replace('""', '"')
  return value


def _json_columns(path, text, names) -> list[list[str | None]]:
  rows, known = [], {}
  for number, line in enumerate(text.split("\n"), 1):  # str.splitlines ends lines at U+2028 too.
    if not line.strip(" \t\r"):
      continue
    try:
      # Digits stay digits: Python refuses integers of more than 4,300.
      row = json.loads(line, parse_int=str, parse_constant=lambda _: None, object_pairs_hook=_once)
    except RecursionError:
      raise UserError(f"{path}: row {number} is nested too deeply") from None
    except ValueError as e:
      raise UserError(f"{path}: row {number} is not valid JSON ({getattr(e, 'msg', e)})") from None
    if not isinstance(row, dict):
      raise UserError(f"{path}: row {number} is not a JSON object")
    known |= dict.fromkeys(row)
    rows.append([_string(path, number, name, row.get(name)) for name in names])
  for name in names:
    if name not in known:
      raise UserError(f"{path} has no column {name!r}; it has {', '.join(known) or 'none'}")
  return [list(column) for column in zip(*rows)]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
  row = dict(pairs)
  if len(row) < len(pairs):
    raise ValueError("a name occurs twice")
  return row


def _string(path, number, name, value) -> str | None:
  if isinstance(value, dict | list):
    kind = "an object" if isinstance(value, dict) else "an array"
    raise UserError(f"{path}: row {number}: expected a string as {name}, got {kind}")
  try:
    return value if value is None else str(value).encode().decode()
  except UnicodeEncodeError:
    raise UserError(f"{path}: row {number}: {name} has half of a surrogate pair") from None
