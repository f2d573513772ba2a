"""dlx.train with the fields of a task: no steps, the best metric, collections, pretrained."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import dlx
from dlx.errors import UserError
from dlx.experiment import Loss
from dlx.runs import export, metric_log
from dlx.runs.checkpoints import Checkpoints


def steps_and_best(workdir):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.steps, checkpoints.best


def descend(variables, batch, rng):
  return Loss(-variables["params"]["b"])


def test_without_steps_init_fn_is_the_whole_training(get_config, tmp_path, files):
  dlx.train(get_config("solved"), tmp_path / "run")
  assert steps_and_best(tmp_path / "run") == ([0], 0)
  lines = metric_log.read(tmp_path / "run" / "metrics.jsonl")
  assert [line["step"] for line in lines] == [0]
  assert lines[0]["validation/loss"] < 1e-9
  before = files.results(tmp_path)
  dlx.train(get_config("solved"), tmp_path / "run")
  assert files.results(tmp_path) == before


@pytest.mark.full
def test_the_maximum_of_a_metric_can_mark_the_best(change_task, get_config, tmp_path):
  # Adam moves b by about the learning rate in each step, so it passes 2.5 early.
  def eval_fn(variables, batch, rng):
    distance = jnp.abs(variables["params"]["b"] - 2.5) + 0 * batch["y"]
    return {"loss": 0 * batch["y"], "accuracy": -distance}

  change_task(best="-accuracy", eval_fn=eval_fn, loss_fn=descend)
  changes = {"optimizer.learning_rate": 1.0, "optimizer.warmup_steps": 0}
  dlx.train(get_config(changes=changes), tmp_path / "run")
  lines = metric_log.read(tmp_path / "run" / "metrics.jsonl")
  scores = {s["step"]: s["validation/accuracy"] for s in lines if "validation/accuracy" in s}
  best = max(scores, key=scores.get)
  steps, found = steps_and_best(tmp_path / "run")
  assert found == best != 12 and best in steps
  assert dlx.load_run(tmp_path / "run").step == best
  assert dlx.load_run(tmp_path / "run", checkpoint="latest").step == 12
  assert {"curves.png", "accuracy.png"} < {path.name for path in (tmp_path / "run").iterdir()}


def test_training_only_collections_are_in_checkpoints_alone(trained, tmp_path, files):
  assert files.last_state(trained)["collections"]["seen"] == 12 * 8
  run = dlx.load_run(trained)
  assert "seen" in run.variables and set(run.eval_variables) == {"params"}
  export.export(run, tmp_path / "export")
  assert set(dlx.load_run(tmp_path / "export").variables) == {"params"}


@pytest.mark.parametrize("optimizer", [None, optax.adamw(0.1, weight_decay=0.5)])
def test_frozen_parameters_keep_their_values_and_have_no_moments(
    change_task, experiment, get_config, trained, tmp_path, files, optimizer
):
  w = np.random.default_rng(0).normal(size=3).astype(np.float32)
  init_fn = lambda rng, data: {"params": {"w": jnp.asarray(w), "b": jnp.ones(())},  # noqa: E731
                               "seen": jnp.zeros((), jnp.int32)}  # fmt: skip
  change_task(init_fn=init_fn, is_trained=lambda name: name == "b", optimizer=optimizer)
  dlx.train(get_config(changes={"training.ema_decay": 0.9}), tmp_path / "run")
  state = files.last_state(tmp_path / "run")
  for params in (state["params"], state["ema"]):
    np.testing.assert_array_equal(params["w"], w)
    assert abs(float(params["b"]) - 1) > 0.05
  assert not [x for x in jax.tree.leaves(state["opt_state"]) if np.size(x) == 3]
  assert [x for x in jax.tree.leaves(files.last_state(trained)["opt_state"]) if np.size(x) == 3]


def test_evaluation_does_not_see_training_only_collections(
    change_task, experiment, get_config, tmp_path
):
  seen = set()
  task = experiment.make(get_config("solved"), {"mean": np.zeros(3, np.float32)})

  def recording(function):
    def record(variables, *args):
      seen.add((function, *variables))
      return getattr(task, function)(variables, *args)

    return record

  names = ("eval_fn", "measure_fn", "plot", "sample")
  change_task(**{name: recording(name) for name in names})
  dlx.train(get_config("solved"), tmp_path / "run")
  assert seen == {(name, "params") for name in names}


def test_only_training_calls_the_function_of_pretrained_variables(
    experiment, get_config, monkeypatch, change_task, tmp_path
):
  load, calls = experiment.load, []

  def load_with(config, assets=None):
    def pretrained():
      calls.append("called")
      return {"params": {"w": experiment.SLOPES, "b": np.float32(7)}}

    return load(config, assets)._replace(pretrained=pretrained)

  monkeypatch.setattr(experiment, "load", load_with)
  change_task(init_fn=lambda rng, data: {**data.pretrained, "seen": jnp.zeros((), jnp.int32)})
  dlx.train(get_config("solved"), tmp_path / "run")
  run = dlx.load_run(tmp_path / "run")
  np.testing.assert_array_equal(run.params["w"], experiment.SLOPES)
  dlx.evaluate(run)
  assert calls == ["called"]


def test_a_run_with_a_checkpoint_resumes_without_the_source_it_started_from(
    experiment, get_config, monkeypatch, change_task, files, tmp_path
):
  load, sources = experiment.load, [np.float32([5, 6, 7])]

  def load_with(config, assets=None):
    def pretrained():
      if not sources:
        raise UserError("the source is gone")
      return sources[0]

    return load(config, assets)._replace(pretrained=pretrained)

  def init_fn(rng, data):
    w = jnp.zeros(3) if data.pretrained is None else data.pretrained
    return {"params": {"w": w, "b": jnp.zeros(())}, "seen": jnp.zeros((), jnp.int32)}

  monkeypatch.setattr(experiment, "load", load_with)
  change_task(init_fn=init_fn)
  dlx.train(get_config(), tmp_path / "run")
  expected = files.last_state(tmp_path / "run")["params"]
  sources.clear()
  shutil.rmtree(tmp_path / "run" / "checkpoints" / "12")
  dlx.train(get_config(), tmp_path / "run")
  np.testing.assert_array_equal(files.last_state(tmp_path / "run")["params"]["w"], expected["w"])
  # Without a whole checkpoint it would start from other values.
  for folder in (tmp_path / "run" / "checkpoints").glob("[0-9]*"):
    shutil.rmtree(folder)
  with pytest.raises(UserError, match="the source is gone"):
    dlx.train(get_config(), tmp_path / "run")


def test_init_fn_has_only_the_training_data(change_task, get_config, tmp_path):
  given = []

  def init_fn(rng, data):
    given.append(data)
    return {"params": {"w": jnp.zeros(3), "b": jnp.zeros(())}, "seen": jnp.zeros((), jnp.int32)}

  change_task(init_fn=init_fn)
  dlx.train(get_config("solved"), tmp_path / "run")
  assert all(set(data.train) == {"x", "y"} for data in given)
  assert all(data[1:4] == (None, None, None) for data in given)


def test_an_experiment_may_bring_its_own_train(
    experiment, get_config, monkeypatch, tmp_path, files
):
  def train(config, workdir):
    workdir.mkdir()
    (workdir / "note").write_text(config.preset)

  monkeypatch.setattr(experiment, "train", train, raising=False)
  with pytest.raises(UserError, match="learning_rate"):  # Its config is checked as well.
    dlx.train(get_config(changes={"optimizer.learning_rate": 0.0}), tmp_path / "run")
  dlx.train(get_config(), tmp_path / "run")
  assert files.contents(tmp_path) == {"run/note": b"debug"}


@pytest.mark.full
def test_a_profile_changes_nothing(get_config, trained, tmp_path):
  dlx.train(get_config(), tmp_path / "run", profile="4:6")
  assert list((tmp_path / "run" / "profile").rglob("perfetto_trace.json.gz"))
  for name in ("metrics.jsonl", "validation.json", "config.json", "data.json"):
    assert (tmp_path / "run" / name).read_bytes() == (trained / name).read_bytes()


# Runs in a process with eight virtual devices, in float64.
PROGRAM = """
import sys, jax
sys.path.insert(0, sys.argv[1])
import dlx
from linear_regression.config import get_config
for fsdp in (1, 4):
  dlx.train(get_config(changes={"training.fsdp": fsdp}), f"{sys.argv[2]}/{fsdp}")
print(jax.device_count(), *dlx.load_run(f"{sys.argv[2]}/1").params)
try:
  dlx.train(get_config(changes={"data.batch_size": 12}), f"{sys.argv[2]}/other")
except ValueError as e:
  print(e)
"""


@pytest.mark.full
def test_eight_devices_train_the_same(linear_regression, trained, tmp_path, on_eight_devices):
  packages = linear_regression[0].__file__.rsplit("/", 2)[0]
  assert on_eight_devices(PROGRAM, packages, str(tmp_path)) == [
      "8 b w", "batch_size: expected a multiple of the number of devices, 8, got 12",
  ]  # fmt: skip
  assert not (tmp_path / "other").exists()
  expected = dlx.load_run(trained)
  for fsdp in ("1", "4"):
    run = dlx.load_run(tmp_path / fsdp)
    for name, value in run.params.items():
      np.testing.assert_allclose(value, expected.params[name], rtol=1e-5, atol=1e-6)
    assert dlx.evaluate(run) == pytest.approx(dlx.evaluate(expected), rel=1e-5)
