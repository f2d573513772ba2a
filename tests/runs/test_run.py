"""An opened run: what it prints, its metrics, and what it can be asked."""

import json
import pathlib
import shutil

import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.runs import workdir as workdirs
from experiments.vae.config import get_config


def test_a_run_is_shown_in_one_line(trained):
  run = dlx.load_run(trained("experiments.vae:debug"))
  count = sum(np.size(leaf) for leaf in _leaves(run.params))
  expected = f"of experiments.vae: step {run.step}, {count:,} parameters>"
  assert repr(run) == f"<Run {run.workdir} {expected}"
  assert len(f"{[run]}") < 300


def _leaves(tree):
  if isinstance(tree, dict):
    return [leaf for value in tree.values() for leaf in _leaves(value)]
  return [leaf for value in tree for leaf in _leaves(value)] if isinstance(tree, list) else [tree]


def test_the_metrics_are_arrays_of_steps_and_values(trained, tmp_path):
  workdir = trained("experiments.vae:debug")
  metrics = dlx.load_run(workdir).metrics
  lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
  assert set(metrics) == set().union(*lines) - {"step"}
  for name, (step, value) in metrics.items():
    assert step.dtype == np.int64 and value.dtype == np.float64
    assert list(zip(step, value)) == [(li["step"], li[name]) for li in lines if name in li]
  exported = pathlib.Path(dlx.export(dlx.load_run(workdir), tmp_path / "out")).parent
  assert dlx.load_run(exported).metrics == {}


def test_a_run_is_evaluated_in_python_numbers(trained):
  run = dlx.load_run(trained("experiments.vae:debug"))
  measured = {"a": np.float32(0.5), "b": jnp.float32(2.0), "c": 3, "d": np.array(4.0)}
  task = run.task._replace(eval_fn=None, measure_fn=lambda *args: measured, plot=None)
  vars(run)["task"] = task
  metrics = run.evaluate("validation")
  assert metrics == dlx.evaluate(run, "validation") == {"examples": 96, **measured}
  assert [type(value) for value in metrics.values()] == [int, float, float, float, float]
  json.dumps(metrics)


@pytest.mark.full
def test_a_run_from_before_a_setting_has_its_default(trained, tmp_path):
  workdir = shutil.copytree(trained("experiments.vae:debug"), tmp_path / "run")
  expected = dlx.load_run(workdir).evaluate("validation")
  exported = pathlib.Path(dlx.export(dlx.load_run(workdir), tmp_path / "out")).parent
  for folder in (workdir, exported):
    config = json.loads((folder / "config.json").read_text())
    del config["training"]["ema_decay"], config["beta"]  # The preset has their defaults.
    workdirs.write_json(folder, "config.json", config)
    run = dlx.load_run(folder)
    assert run.config.beta == 1.0 and run.evaluate("validation") == expected
  # The same command continues the run.
  assert dlx.train(get_config("debug"), workdir) == workdir
  workdirs.write_json(exported, "config.json", {**config, "training": 3})
  with pytest.raises(UserError, match="config.training"):
    dlx.load_run(exported)


def test_a_run_predicts_lines(trained):
  run = dlx.load_run(trained("experiments.vae:debug"))
  predict = lambda variables, lines, apply, *, top=3: [f"{x}: {top}" for x in lines]  # noqa: E731
  vars(run)["task"] = run.task._replace(predict=predict)
  assert run.predict(["a film", "b"], top=1) == ["a film: 1", "b: 1"]
  assert run.predict("a film") == ["a film: 3"]
  assert run.predict(iter(["a"])) == list(dlx.predict(run, ["a"]))
