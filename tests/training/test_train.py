"""dlx.train on a small experiment: records, and refusals before it writes."""

import json

import jax.numpy as jnp
import numpy as np
import programs as programs_lib
import pytest

import dlx
from dlx.errors import UserError
from dlx.experiment import Loss
from dlx.runs import metric_log


def strict_json(path):
  def refuse(constant):
    raise ValueError(constant)

  return json.loads(path.read_text(), parse_constant=refuse)


# Records.


def test_a_run_leaves_its_records_in_strict_json(trained, get_config):
  assert strict_json(trained / "config.json") == get_config("debug").to_dict()
  data = strict_json(trained / "data.json")
  assert data["steps_per_epoch"] == 8
  assert len({data[split] for split in ("train", "validation", "test")}) == 3
  (start,) = strict_json(trained / "run.json")
  assert start["implementations"]["attention"] == "blocked"
  assert {"time", "command", "commit"} < set(start)
  assert strict_json(trained / "assets.json") == {"names": ["a", "b", "c"]}
  assert dlx.load_run(trained).assets["mean"].shape == (3,)


def test_a_run_leaves_figures_and_samples(trained):
  names = {path.name for path in trained.iterdir() if path.is_file()}
  assert {"curves.png", "weights.png", "names.txt", "samples.txt"} < names
  for name in ("curves.png", "weights.png"):
    assert (trained / name).read_bytes().startswith(b"\x89PNG")
  assert (trained / "names.txt").read_text() == " ".join(f"row {i}" for i in range(64, 94))
  assert len((trained / "samples.txt").read_text().splitlines()) == 3  # Two, and an empty line.
  assert not (trained / "profile").exists()


def test_the_metrics_are_those_of_the_best_checkpoint(trained):
  lines = metric_log.read(trained / "metrics.jsonl")
  validation = {line["step"]: line for line in lines if "validation/loss" in line}
  assert list(validation) == [4, 8, 12]
  assert set(validation[4]) == {"step", "validation/loss", "validation/accuracy"}, "no measure_fn"
  run = dlx.load_run(trained)
  assert run.step == 12 == min(validation, key=lambda step: validation[step]["validation/loss"])
  metrics = strict_json(trained / "validation.json")
  assert set(metrics) == {"loss", "accuracy", "R2"}
  assert metrics["loss"] == validation[12]["validation/loss"]
  assert dlx.evaluate(run, "validation") == {"examples": 30, **metrics}


def test_images_are_sampled_as_a_figure(change_task, get_config, tmp_path):
  change_task(sample=lambda variables, rng: iter([np.zeros((4, 4)), np.ones((4, 4))]))
  dlx.train(get_config("solved"), tmp_path / "run")
  assert (tmp_path / "run" / "samples.png").exists()
  assert not (tmp_path / "run" / "samples.txt").exists()


def test_without_a_workdir_the_folder_is_named_by_the_config(get_config, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  workdir = dlx.train(get_config("solved"))
  assert workdir.parent.name == "runs" and workdir.name.startswith("linear_regression-solved-")
  assert dlx.load_run(workdir).step == 0


def test_a_metric_without_examples_is_null(change_task, experiment, get_config, tmp_path):
  eval_fn = experiment.make(get_config("solved"), {"mean": np.zeros(3)}).eval_fn

  def with_empty(variables, batch, rng):
    zeros = jnp.zeros(batch["y"].shape)
    return {**eval_fn(variables, batch, rng), "of none": (zeros, zeros)}

  change_task(eval_fn=with_empty)
  dlx.train(get_config("solved"), tmp_path / "run")
  assert strict_json(tmp_path / "run" / "validation.json")["of none"] is None


# Refusals: nothing has been written.


def without(name):
  return lambda experiment, monkeypatch: monkeypatch.delattr(experiment, name)


def with_task(**changes):
  def patch(experiment, monkeypatch):
    make = experiment.make
    monkeypatch.setattr(experiment, "make", lambda *args: make(*args)._replace(**changes))

  return patch


def with_data(**changes):
  def patch(experiment, monkeypatch):
    load = experiment.load
    monkeypatch.setattr(experiment, "load", lambda *args: load(*args)._replace(**changes))

  return patch


def loss_with(**updated):
  def loss_fn(variables, batch, rng):
    return Loss((variables["params"]["w"] ** 2).sum(), updated=updated)

  return with_task(loss_fn=loss_fn)


def grow(variables, batch, rng):
  return Loss(variables["params"]["b"], updated={"seen": jnp.zeros(2, jnp.int32)})


REFUSALS = {
    "a value out of its range": (
        {"optimizer.learning_rate": -1.0}, None, "config.optimizer.learning_rate is -1.0",
    ),
    "warm-up": ({"optimizer.warmup_steps": 12}, None, "warmup_steps is 12; expected less than"),
    "fsdp": ({"training.fsdp": 3}, None, "fsdp: expected a divisor of the number of devices, 1"),
    "batch size": ({"data.num_train": 7}, None, "batch_size is 8, but there are only 7 training"),
    "epochs": (
        {"training.total_steps": "2 epochs"}, with_data(train={}), "'2 epochs' is in epochs",
    ),
    "load": ({}, without("load"), "linear_regression.experiment has no function load"),
    "make": ({}, without("make"), "linear_regression.experiment has no function make"),
    "shape": (
        {}, with_task(loss_fn=grow), r"loss_fn: .* collections.seen from int32\(\) to int32\(2,\)",
    ),
    "dtype": (
        {}, loss_with(seen=jnp.zeros(())), r"loss_fn: .*\.seen from int32\(\) to float32\(\)",
    ),
    "collection": (
        {}, loss_with(sene=jnp.zeros(())), r"updates \['sene'\], which init_fn did not create",
    ),
    "best": (
        {}, with_task(best="-acuracy"),
        r"best: expected a metric of eval_fn, \['accuracy', 'loss'\], got '-acuracy'",
    ),
    "loss_fn": ({}, with_task(loss_fn=None), "make: expected a loss_fn"),
    "evaluation": (
        {}, with_task(eval_fn=None, measure_fn=None), "make: expected an eval_fn or a measure_fn",
    ),
    "validation": ({}, with_data(validation={}), "load: expected validation examples"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSALS)
def test_errors_come_before_anything_is_written(
    name, experiment, get_config, monkeypatch, tmp_path
):
  changes, patch, message = REFUSALS[name]
  if patch:
    patch(experiment, monkeypatch)
  with pytest.raises(ValueError, match=message) as error:
    dlx.train(get_config(changes=changes), tmp_path / "run")
  assert "\n" not in str(error.value)
  assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("profile", ["7", "9:5"])
def test_an_invalid_span_to_profile_is_refused(get_config, tmp_path, profile):
  with pytest.raises(UserError, match="profile: expected START:STOP"):
    dlx.train(get_config(), tmp_path / "run", profile=profile)
  assert list(tmp_path.iterdir()) == []


def test_a_missing_best_metric_of_measure_fn_is_reported(change_task, get_config, tmp_path):
  # A function on the host cannot be traced, so this is reported at the first validation.
  change_task(eval_fn=None, best="r2")
  with pytest.raises(ValueError, match=r"best: expected a validation metric, \['R2'\], got 'r2'"):
    dlx.train(get_config("solved"), tmp_path / "run")


def test_of_two_starts_at_once_the_later_is_refused(experiment, get_config, tmp_path, monkeypatch):
  """The other run starts while this one loads its data, after its first look at the folder."""
  load = experiment.load

  def load_slowly(config, assets=None):
    monkeypatch.setattr(experiment, "load", load)
    dlx.train(get_config(changes={"seed": 1}), tmp_path / "run")
    return load(config, assets)

  monkeypatch.setattr(experiment, "load", load_slowly)
  with pytest.raises(UserError, match="another config: seed|another run has started"):
    dlx.train(get_config(), tmp_path / "run")
  dlx.train(get_config(changes={"seed": 1}), tmp_path / "alone")
  programs_lib.assert_same_run(tmp_path / "run", tmp_path / "alone")
  assert json.loads((tmp_path / "run" / "config.json").read_text())["seed"] == 1
