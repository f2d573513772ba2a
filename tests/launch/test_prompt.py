"""launch.prompt: accuracies by the number of examples, the majority class, and bad input."""

import json
import re

import pytest

import dlx
from dlx.data import prompts
from dlx.training import prompting

TEMPLATE = r"--template={text}={label}\n"
ROWS = [("if", "x"), ("de", "y"), ("or", "x"), ("in", "x"), ("re", "y")]


@pytest.fixture
def table(tmp_path):
  path = tmp_path / "rows.csv"
  path.write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS))
  return path


@pytest.mark.full
def test_the_accuracy_of_a_transformer_whose_context_is_short(programs, trained, table):
  workdir = trained("experiments.transformer_lm:debug")
  flags = (f"--workdir={workdir}", f"--file={table}", TEMPLATE, "--shots=0,2,4", "--seed=7")
  finished = programs("launch.prompt", *flags, "--json")
  assert finished.code == 0, finished
  lines = [json.loads(line) for line in finished.out.splitlines()]
  rows, run = prompts.Rows(*map(list, zip(*ROWS))), dlx.load_run(workdir)
  template = prompts.Template("", "=", "\n")
  for k, line in zip((0, 2, 4), lines, strict=True):
    examples = list(prompts.draw(rows, rows, k, seed=7))
    found = prompting.answer(run, template, rows.texts, examples, ["x", "y"])
    right = [("x", "y")[i] == label for i, (_, label) in zip(found.predictions, ROWS)]
    assert line["examples"] == k and line["accuracy"] == pytest.approx(sum(right) / 5)
    assert line["majority class"] == "x" and line["majority"] == 0.6
  # Four examples of five characters and a text of three do not fit into 16.
  assert finished.err.count("do not fit") == 1 and "4 examples do not fit" in finished.err


def test_the_accuracy_of_a_recurrent_network_with_examples_of_a_table(programs, trained, table):
  workdir, examples = trained("experiments.gru_lm:debug"), table.with_name("examples.tsv")
  examples.write_text("text\tlabel\nas\tx\nis\tz\n")
  flags = (f"--workdir={workdir}", f"--file={table}", f"--examples={examples}", TEMPLATE)
  finished = programs("launch.prompt", *flags, "--shots=1,2", "--score=ratio")
  assert finished.code == 0 and not finished.err, finished
  first, *others = finished.out.splitlines()
  assert first == "5 rows, 3 labels; majority class x: 60.0%"
  pattern = r"k = (\d): accuracy \d+\.0%, standard error \d+\.\d%"
  assert [re.fullmatch(pattern, line)[1] for line in others] == ["1", "2"]


def test_mistakes_are_one_line(programs, trained, table):
  workdir, small = trained("experiments.gru_lm:debug"), table.with_name("small.csv")
  small.write_text("text,label\nif,x\n")
  blank = table.with_name("blank.csv")
  blank.write_text("text,label\nif,x\n ,y\n")
  unknown = table.with_name("unknown.csv")
  unknown.write_text("text,label\nif,x\n\u2603,y\n")
  run, file = f"--workdir={workdir}", f"--file={table}"
  for flags, message in (
      ((file,), "--workdir is missing"),
      ((run,), "--file is missing"),
      ((run, file, "--shots=0,two"), "--shots=0,two: expected numbers"),
      ((run, file, "--shots=5"), "there are only 4 with another text than row 1"),
      ((run, file, "--template={text}"), "should have {text} once and {label} once"),
      ((run, file, "--label_column=stars"), "has no column 'stars'"),
      ((run, f"--file={small}"), "all labels are 'x'"),
      ((run, f"--file={blank}"), "row 2 has no text"),
      ((run, f"--file={unknown}", "--shots=0", TEMPLATE), "row 2: the character"),
  ):
    finished = programs("launch.prompt", *flags)
    assert finished.code == 2 and finished.err.count("\n") == 1, finished
    assert message in finished.err and not finished.out, finished


@pytest.mark.full
def test_a_prompt_from_a_file_is_continued_as_one_of_the_command_line(programs, trained, tmp_path):
  run, path = f"--workdir={trained('experiments.gru_lm:debug')}", tmp_path / "prompt.txt"
  path.write_text("def f(x):\n  return x\n\ndef\n")
  flags = ("launch.sample", run, "--length=5")
  expected = programs(*flags, "--prompt=def f(x):\n  return x\n\ndef")
  found = programs(*flags, f"--prompt_file={path}")
  assert found.code == 0 and found.out == expected.out, (found, expected)
  for more, message in (
      ((f"--prompt_file={path}", "--prompt=a"), "both --prompt and --prompt_file"),
      ((f"--prompt_file={tmp_path / 'none.txt'}",), "none.txt"),
  ):
    refused = programs(*flags, *more)
    assert refused.code == 2 and refused.err.count("\n") == 1 and message in refused.err, refused
