"""Tables as other programs write them: encodings, separators, quotes, line ends, odd JSON."""

import codecs
import csv
import json
import re

import pytest

from dlx.data import documents, tables
from dlx.errors import UserError

NAMES = ("text", "label")
ROWS = [("good film", "pos"), ("bad film", "neg")]


def write(path, content):
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return path


def rows_of(path):
  return list(zip(*tables.read(path, NAMES).columns))


def refusal(path):
  with pytest.raises(UserError) as error:
    documents.from_file(path)
  message = str(error.value)
  assert "\n" not in message and str(path) in message
  return message


CONTENT = {
    "csv": "text,label\ngood film,pos\nbad film,neg\n",
    "tsv": "text\tlabel\ngood film\tpos\nbad film\tneg\n",
    "jsonl": '{"text": "good film", "label": "pos"}\n{"text": "bad film", "label": "neg"}\n',
}


@pytest.mark.parametrize("suffix", CONTENT)
@pytest.mark.parametrize("mark, encoding", [
    (b"", "utf-8"), (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
])  # fmt: skip
def test_byte_order_marks_windows_line_ends_and_upper_case_suffixes(
    tmp_path, suffix, mark, encoding
):
  for name in (suffix, suffix.upper()):
    for end in ("\n", "\r\n"):
      content = CONTENT[suffix].replace("\n", end)
      path = write(tmp_path / f"x.{name}", mark + content.encode(encoding))
      assert rows_of(path) == ROWS
      assert rows_of(write(path, mark + (content + end).encode(encoding))) == ROWS


@pytest.mark.parametrize("suffix", CONTENT)
def test_only_a_line_end_ends_a_row(tmp_path, suffix):
  texts = [f"good{c}film" for c in "\x0b\x0c\x1c\x85\u2028\u2029"]
  rows = [(text, "pos") for text in texts] + [("bad", "neg")]
  if suffix == "jsonl":
    lines = [json.dumps(dict(zip(NAMES, row)), ensure_ascii=False) for row in rows]
  else:
    separator = {"csv": ",", "tsv": "\t"}[suffix]
    lines = [separator.join(row) for row in (NAMES, *rows)]
  assert rows_of(write(tmp_path / f"x.{suffix}", "\n".join(lines))) == rows


@pytest.mark.parametrize("suffix", ["csv", "tsv"])
@pytest.mark.parametrize("separator, word", [
    (",", "commas"), (";", "semicolons"), ("\t", "tabs"), ("|", "vertical bars"),
])  # fmt: skip
def test_another_separator_is_found_and_said(tmp_path, capfd, suffix, separator, word):
  with open(tmp_path / f"x.{suffix}", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file, delimiter=separator)
    writer.writerows([("id", *NAMES), *((i, *row) for i, row in enumerate(ROWS))])
  assert rows_of(file.name) == ROWS
  assert documents.from_file(file.name).texts == ("good film", "bad film")
  usual = {"csv": "commas", "tsv": "tabs"}[suffix]
  notice = f"{file.name}: {word}, not {usual}, separate columns\n"
  assert capfd.readouterr().err == (notice if word != usual else "")


def test_the_separator_of_excels_first_line_is_used(tmp_path):
  path = write(tmp_path / "x.csv", "sep=|\r\ntext|label\r\ngood film|pos\r\nbad film|neg\r\n")
  assert rows_of(path) == ROWS and tables.read(path, NAMES).notices == []


@pytest.mark.parametrize("suffix", CONTENT)
def test_blank_lines_are_no_rows(tmp_path, suffix):
  path = write(tmp_path / f"x.{suffix}", "\n  \n" + CONTENT[suffix].replace("\n", "\n\n  \n"))
  assert rows_of(path) == ROWS


def test_a_separator_that_is_not_known_is_named_as_a_cause(tmp_path):
  path = write(tmp_path / "x.csv", "text:label\na:pos\nb:neg\n")
  assert "columns separated by commas, semicolons or tabs" in refusal(path)


def test_blanks_around_headers_and_labels_do_not_count(tmp_path):
  path = write(tmp_path / "x.csv", 'text , "label"\n a, pos\n"b, c", "pos "\nd,neg\u00a0\n')
  data = documents.from_file(path)
  assert data.classes == ("neg", "pos") and data.labels.tolist() == [1, 1, 0]
  assert data.texts[1] == "b, c"
  path = write(tmp_path / "x.jsonl", '{"text": "a", "label": " 1"}\n{"text": "b", "label": 1}\n'
               '{"text": "c", "label": "2\\n"}\n')  # fmt: skip
  assert documents.from_file(path).classes == ("1", "2")


@pytest.mark.parametrize("rows", [
    ['"abc\tpos', "bad\tneg", '"xyz\tneg', "ok\tpos"],  # The second quote would close the first.
    ['"abc\tpos', "bad\tneg", 'he said "ok"\tneg'],
    ['"abc\tpos', 'bad"\tneg'],
    ['"\tpos', '""\tneg', '"""\tneg'],
    ['5" disc\tpos', 'a "b" c\tneg'],
])  # fmt: skip
def test_quotes_in_a_tsv_file_never_join_rows(tmp_path, capfd, rows):
  path = write(tmp_path / "x.tsv", "\n".join(["text\tlabel", *rows]))
  found = rows_of(path)
  assert len(found) == len(rows)
  for (text, label), row in zip(found, rows):
    assert row.split("\t") in ([text, label], ['"' + text.replace('"', '""') + '"', label])


@pytest.mark.parametrize(("value", "text", "is_stray"), [
    ('"abc', '"abc', True), ('"', '"', True), ('"a" b', '"a" b', True),
    ('"a ""b"""', 'a "b"', False), ('"""a"" b"', '"a" b', False), ('""', "", False),
    ('a "b', 'a "b', False),
])  # fmt: skip
def test_a_quote_of_a_tsv_file_that_does_not_close_is_said(tmp_path, value, text, is_stray):
  path = write(tmp_path / "x.tsv", f"text\tlabel\n{value}\tpos")
  (texts, _), notices = tables.read(path, NAMES)
  stray = f"{path}: values that begin with a quote that does not close: 1"
  assert texts == [text] and notices == [stray] * is_stray


def test_values_in_quotes_are_those_that_the_csv_module_wrote(tmp_path):
  rows = [('he said "no"', "a"), ("tab\tin it", "b"), ("two\nlines", "c"), ("x" * 200_000, "d")]
  for suffix, separator in {"csv": ",", "tsv": "\t"}.items():
    for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL):
      with open(tmp_path / f"x.{suffix}", "w", newline="", encoding="utf-8") as file:
        csv.writer(file, delimiter=separator, quoting=quoting).writerows([NAMES, *rows])
      assert rows_of(file.name) == rows
  assert csv.field_size_limit() == 131_072, "the limit of the process is restored"


@pytest.mark.parametrize("name, content, message", [
    # A quote that closes in another row, or never.
    ("x.csv", 'text,label\n"abc,pos\nbad,neg\n"xyz,neg\n', r"row 1 \(line 4\): a wrong quote"),
    ("x.csv", 'text,label\nok,pos\n"abc,pos\nbad,neg\n', "row 2 .*a wrong quote"),
    ("x.tsv", 'text\tlabel\n"abc\tpos\nbad"\tneg\na\tb\tc\n', "quotes enclose tabs and line ends"),
    ("x.csv", 'text,"label', r"x.csv: the header \(line 1\): a wrong quote"),
    ("x.csv", "text,label\n\n", "x.csv has no rows"),
    ("x.tsv", "text\tlabel\na\tb\tc\n", r"row 1 \(line 2\): expected 2 columns, got 3"),
    ("x.csv", "text,label,text\na,pos,b\n", "2 columns named 'text'; rename all but one"),
    ("x.csv", "text,label, label\na,pos,b\n", "2 columns named 'label'"),
    ("x.jsonl", '{"text": "a", "text": "b", "label": 1}\n', "row 1 .*a name occurs twice"),
    ("x.csv", "text,label\na,\nb,pos\nc, \nd,neg\n", "row 1 has no label; 2 rows have none$"),
    ("x.jsonl", '{"text": "a", "label": NaN}\n', "row 1 has no label"),
    ("x.jsonl", '{"text": null, "label": 1}\n', "row 1 has no text"),
    ("x.jsonl", '{"text": ["a"], "label": 1}\n', "expected a string as text, got an array"),
    ("x.jsonl", '{"text": "a", "label": {"b": 1}}\n', "expected a string as label, got an object"),
    ("x.jsonl", '{"text": "\\ud83c", "label": 1}\n', "text has half of a surrogate pair"),
    ("x.jsonl", '{"text": "a", "z": %s}\n' % ("[" * 100_000 + "]" * 100_000), "nested too deeply"),
    ("x.jsonl", "[" * 100_000, "row 1 is nested too deeply"),
    ("x.jsonl", "1\n", "row 1 is not a JSON object"),
    ("x.jsonl", "", "no column 'text'; it has none"),
    ("x.csv", b"text,label\nk\xe4se,pos\n", "is not UTF-8"),
    ("x.csv", "text,label\nb\0d,pos\n", "is binary"),
])  # fmt: skip
def test_what_has_no_clear_meaning_is_refused(tmp_path, name, content, message):
  found = refusal(write(tmp_path / name, content))
  assert re.search(message, found), found


def test_numbers_of_any_length_and_nan_elsewhere_are_read(tmp_path):
  long = "1" * 5000
  rows = [f'{{"text": "a", "label": {long}, "id": NaN}}',
          '{"text": 7, "label": 0.5, "id": -Infinity}']  # fmt: skip
  path = write(tmp_path / "x.jsonl", "\n".join(rows))
  assert rows_of(path) == [("a", long), ("7", "0.5")]
