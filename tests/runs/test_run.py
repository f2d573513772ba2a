"""An opened run: what it prints, its metrics, and what it can be asked."""

import json
import pathlib

import numpy as np

import dlx


def test_a_run_is_shown_in_one_line(trained):
  run = dlx.load_run(trained("experiments.gru_lm:debug"))
  count = sum(np.size(leaf) for leaf in _leaves(run.params))
  expected = f"of experiments.gru_lm: step {run.step}, {count:,} parameters>"
  assert repr(run) == f"<Run {run.workdir} {expected}"
  assert len(f"{[run]}") < 300


def _leaves(tree):
  if isinstance(tree, dict):
    return [leaf for value in tree.values() for leaf in _leaves(value)]
  return [leaf for value in tree for leaf in _leaves(value)] if isinstance(tree, list) else [tree]


def test_the_metrics_are_arrays_of_steps_and_values(trained, tmp_path):
  workdir = trained("experiments.gru_lm:debug")
  metrics = dlx.load_run(workdir).metrics
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert set(metrics) == set().union(*lines) - {"step"}
  for name, (step, value) in metrics.items():
    assert step.dtype == np.int64 and value.dtype == np.float64
    assert list(zip(step, value)) == [(li["step"], li[name]) for li in lines if name in li]
  exported = pathlib.Path(dlx.export(dlx.load_run(workdir), tmp_path / "out")).parent
  assert dlx.load_run(exported).metrics == {}


def test_a_run_is_evaluated_in_python_numbers(trained):
  run = dlx.load_run(trained("experiments.transformer_sentiment:debug"))
  metrics = run.evaluate("validation")
  assert metrics == dlx.evaluate(run, "validation")
  assert {type(value) for value in metrics.values()} == {int, float}
  json.dumps(metrics)


def test_a_run_predicts_lines(trained):
  run = dlx.load_run(trained("experiments.transformer_sentiment:debug"))
  lines = ["a good film", "a bad one"]
  assert run.predict(lines, top=1) == list(dlx.predict(run, lines, top=1))
  assert run.predict(lines[0]) == run.predict(lines[:1])
