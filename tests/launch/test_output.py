"""--json: the same figures as values, one object per line."""

import json
import shutil

import pytest

import dlx
from launch.cli import output


def objects(text: str) -> list[dict]:
  def refuse(name):
    raise AssertionError(f"{name} is not JSON")

  return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def test_numbers_that_are_not_finite_are_null(capsys):
  output.print_json({"a": float("nan"), "b": {"c": float("-inf"), "d": 0.1, "e": "très"}})
  expected = {"a": None, "b": {"c": None, "d": 0.1, "e": "très"}}
  assert objects(capsys.readouterr().out) == [expected]


@pytest.mark.full
def test_programs_print_the_same_figures_as_values(programs, trained, tmp_path):
  workdir = tmp_path / "run"  # An evaluation adds figures.
  shutil.copytree(trained("experiments.transformer_sentiment:debug"), workdir)
  run, flag = dlx.load_run(workdir), f"--workdir={workdir}"
  (evaluated,) = objects(programs("launch.evaluate", flag, "--json").out)
  assert evaluated["split"] == "validation" and evaluated["step"] == run.step
  expected = json.loads((workdir / "validation.json").read_text())
  assert evaluated["metrics"] == pytest.approx({"examples": 40, **expected}, rel=1e-5)

  inputs = ("--top=2", "a good film", "a bad one")
  predicted = objects(programs("launch.predict", flag, "--json", *inputs).out)
  assert [p["input"] for p in predicted] == [*inputs[1:]]
  for shown, line in zip(predicted, programs("launch.predict", flag, *inputs).out.splitlines()):
    pairs = (f"{name} {p:.1%}" for name, p in shown["probabilities"].items())
    assert line == f"{shown['input']}: {', '.join(pairs)}"
    assert sum(shown["probabilities"].values()) == pytest.approx(1)

  image = tmp_path / "compare.png"
  compared = objects(programs("launch.compare", "--json", f"--output={image}", *[workdir] * 2).out)
  metrics = {name: points.value[-1] for name, points in run.metrics.items()}
  assert image.exists() and len(compared) == 2
  assert compared[0]["metrics"]["loss"] == metrics["validation/loss"]
  assert compared[0]["step"] == run.metrics["loss"].step[-1] and compared[0]["config"] == {}


def test_an_experiment_without_values_says_so(programs, trained):
  finished = programs(
      "launch.predict", f"--workdir={trained('experiments.gru_lm:debug')}", "--json", "a"
  )
  assert finished.code == 2 and finished.err.count("\n") == 1, finished


def test_the_table_of_layers_has_json(programs):
  layers = ("8,8,3", "conv(4, 3)", "flatten", "linear(10)", "--json")
  (table,) = objects(programs("dlx.models.summary", *layers).out)
  assert [row["output"] for row in table["layers"]] == [[8, 8, 4], [256], [10]]
  assert table["total"] == 3 * 3 * 3 * 4 + 4 + 256 * 10 + 10
