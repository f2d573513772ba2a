"""The promises of every experiment and preset."""

import importlib
import json
import os
import pathlib
import shutil
import signal

import jax
import ml_collections
import numpy as np
from PIL import Image
import programs as programs_lib
import pytest

import dlx
from dlx import presets, settings
from dlx.errors import UserError
from dlx.experiment import numeric
from dlx.runs import export
from dlx.training import train

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = [f"experiments.{p.parent.name}" for p in sorted(ROOT.glob("experiments/*/config.py"))]
CONFIGS = {name: importlib.import_module(f"{name}.config") for name in NAMES}
PRESETS = [f"{name}:{preset}" for name in NAMES for preset in CONFIGS[name].PRESETS]
DEBUG = [preset for preset in PRESETS if preset.partition(":")[2].startswith("debug")]
ROWS = [
    f"{name}:{key}"
    for name in NAMES
    for key, setting in CONFIGS[name].SETTINGS.items()
    if setting.wrong is not None
]
RULES = [
    (name, rule) for name in NAMES for rule in CONFIGS[name].get_config.rules if rule.wrong
]


def config_of(preset: str, **changes) -> ml_collections.ConfigDict:
  """A preset's config, with a name for each run that it requires."""
  name, _, preset = preset.partition(":")
  for key, setting in CONFIGS[name].SETTINGS.items():
    config = CONFIGS[name].get_config(preset)
    if setting.example and presets.get(config, key) == settings.REQUIRED:
      changes = {key: "runs/other", **changes}
  return CONFIGS[name].get_config(preset, changes)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_valid_locked_and_strict_json(preset):
  config = config_of(preset)
  presets.check(config)
  assert config.is_locked and f"{config.experiment}:{config.preset}" == preset
  values = config.to_dict()
  assert json.loads(json.dumps(values, allow_nan=False)) == values
  steps = presets.in_steps(config, 1000).training
  assert all(isinstance(steps[k], int) for k in ("total_steps", "eval_every", "save_every"))


@pytest.mark.parametrize("row", ROWS)
def test_a_value_outside_its_range_is_refused_with_its_key(row):
  name, _, key = row.partition(":")
  setting, config = CONFIGS[name].SETTINGS[key], config_of(f"{name}:debug")
  if setting.when:
    selector, (choice, *_) = setting.when
    config = config_of(f"{name}:debug", **{selector: choice})
  with config.unlocked():
    config.update_from_flattened_dict({key: setting.wrong})
  with pytest.raises(UserError, match=key) as refused:
    presets.check(config)
  assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name, rule", RULES)
def test_values_that_violate_a_rule_are_refused(name, rule):
  with pytest.raises(UserError) as refused:
    presets.check(config_of(f"{name}:debug", **rule.wrong))
  assert rule.message in str(refused.value)


@pytest.mark.parametrize("preset", DEBUG)
def test_a_killed_run_resumes_as_the_uninterrupted_one(programs, trained, tmp_path, preset):
  expected, workdir = trained(preset), tmp_path / "run"
  flags = [*json.loads((expected / "run.json").read_text())[0]["command"][1:-1]]
  flags.append(f"--workdir={workdir}")
  last = programs_lib.saved_steps(expected)[0][-1]
  started = programs.start("launch.train", *flags)
  programs_lib.wait_for(lambda: programs_lib.last_step(workdir) >= last // 2)
  os.kill(started.pid, signal.SIGKILL)
  assert programs.wait(started).code in (-signal.SIGKILL, 0)
  finished = programs("launch.train", *flags)
  assert finished.code == 0, finished.err
  programs_lib.assert_same_run(workdir, expected)


@pytest.mark.parametrize("preset", DEBUG)
def test_an_exported_run_is_the_run_and_opens_without_its_data(
    trained, tmp_path, preset, monkeypatch
):
  run = dlx.load_run(trained(preset))
  data = run.experiment.load(run.config, run.assets)
  monkeypatch.setattr(run.experiment, "load", lambda *_: pytest.fail("the data were loaded"))
  export.export(run, tmp_path / "export")
  exported = dlx.load_run(tmp_path / "export")
  assert not set(exported.variables) & set(run.task.training_only)
  expected = json.loads((trained(preset) / "validation.json").read_text())
  found = dlx.evaluate(exported, "validation", data)
  del found["examples"]
  assert found == pytest.approx(expected, rel=1e-5, abs=1e-6)  # Other passes of the compiler.


@pytest.mark.parametrize("name", NAMES)
def test_splits_differ_and_a_sum_of_them_is_evaluated(trained, name):
  run = dlx.load_run(trained(f"{name}:debug"))
  data = run.experiment.load(run.config, run.assets)
  found = {s: dlx.evaluate(run, s, data) for s in ("validation", "test", "validation+test")}
  validation, test, both = found.values()
  assert validation["examples"] + test["examples"] == both["examples"]
  assert validation["loss"] != test["loss"]
  low, high = sorted((validation["loss"], test["loss"]))
  assert low - 0.02 * abs(low) <= both["loss"] <= high + 0.02 * abs(high)
  with pytest.raises(UserError, match="split: expected train, validation, test"):
    dlx.evaluate(run, "dev", data)


@pytest.mark.parametrize("name", NAMES)
def test_eight_devices_train_what_one_trains(trained, name):
  """In float64, since float32 training amplifies rounding."""
  one, eight = (
      programs_lib.state_of(trained(f"{name}:debug", devices=devices, float64=True))
      for devices in (1, 8)
  )
  for x, y in zip(jax.tree.leaves(one["params"]), jax.tree.leaves(eight["params"])):
    np.testing.assert_allclose(y, x, rtol=1e-5, atol=1e-6)  # Read back as float32.


@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_refused_on_other_data(trained, tmp_path, name):
  folder = shutil.copytree(trained(f"{name}:debug"), tmp_path / "run")
  record = json.loads((folder / "data.json").read_text())
  (folder / "data.json").write_text(json.dumps({**record, "train": "0" * 16}))
  before = (folder / "run.json").read_bytes()
  with pytest.raises(UserError, match="the train data are not those that the run in"):
    train.train(dlx.load_run(folder).config, folder)
  assert (folder / "run.json").read_bytes() == before


@pytest.mark.parametrize("name", NAMES)
def test_every_capability_has_a_program_that_uses_it(programs, trained, tmp_path, name):
  workdir = trained(f"{name}:debug")
  task, config = dlx.load_run(workdir).task, dlx.load_run(workdir).config
  if task.sample:
    finished = programs(
        "launch.sample", f"--workdir={workdir}", f"--output={tmp_path / 'samples.png'}"
    )
    assert finished.code == 0 and finished.out, finished
  line = "the film was [MASK] great"
  if "images" in config.data:
    size = config.data.size or 28
    line = str(tmp_path / "image.png")
    Image.fromarray(np.full((size, size, 3), 99, np.uint8)).save(line)
  if task.predict:
    finished = programs("launch.predict", f"--workdir={workdir}", line)
    assert finished.code == 0 and finished.out.count("\n") == 1, finished
  if task.explain:
    finished = programs("launch.explain", f"--workdir={workdir}", f"--output={tmp_path}", line)
    assert finished.code == 0 and list(tmp_path.glob("*.png")), finished
  lacking = [p for p in ("sample", "predict", "explain") if getattr(task, p) is None]
  for program in lacking:
    finished = programs(
        f"launch.{program}", f"--workdir={workdir}", *([] if program == "sample" else [line])
    )
    assert finished.code == 2 and finished.err.count("\n") == 1, finished


def test_sigterm_saves_and_the_same_command_resumes(programs, trained, tmp_path):
  expected, workdir = trained("experiments.gru_lm:debug"), tmp_path / "run"
  flags = ["--config=experiments/gru_lm/config.py:debug", f"--workdir={workdir}"]
  started = programs.start("launch.train", *flags)
  programs_lib.wait_for(lambda: programs_lib.last_step(workdir) >= 5)
  os.kill(started.pid, signal.SIGTERM)
  finished = programs.wait(started)
  assert finished.code == 128 + signal.SIGTERM, finished
  step = programs_lib.saved_steps(workdir)[0][-1]
  assert finished.err.splitlines()[-1] == f"saved at step {step}; the same command resumes"
  assert programs("launch.train", *flags).code == 0
  programs_lib.assert_same_run(workdir, expected, stopped_at={step})


def test_evaluation_uses_no_array_of_objects(trained):
  """Documents are for reports; a device would refuse them."""
  run = dlx.load_run(trained("experiments.transformer_sentiment:debug"))
  data = run.experiment.load(run.config, run.assets)
  assert data.validation["text"].dtype == object
  assert "text" not in numeric(data.validation)
