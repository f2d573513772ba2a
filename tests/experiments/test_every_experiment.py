"""The promises of every experiment and preset."""

import importlib
import json
import math
import pathlib
import re
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
from dlx.runs import export, metric_log
from dlx.runs import workdir as workdirs
from dlx.training import evaluation, sharding

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = [f"experiments.{p.parent.name}" for p in sorted(ROOT.glob("experiments/*/config.py"))]
CONFIGS = {name: importlib.import_module(f"{name}.config") for name in NAMES}
PRESETS = [f"{name}:{preset}" for name in NAMES for preset in CONFIGS[name].PRESETS]
DEBUG = [preset for preset in PRESETS if preset.partition(":")[2].startswith("debug")]
# Of each experiment, one preset is trained and evaluated in the short suite.
MAIN = [preset for preset in DEBUG if preset.endswith(":debug")]
OTHER = [pytest.param(p, marks=pytest.mark.full) for p in DEBUG if p not in MAIN]
INTERRUPTED = "experiments.gru_lm:debug"  # In the short suite.
ROWS = [(name, key) for name in NAMES for key in CONFIGS[name].SETTINGS]
RULES = [
    (name, rule) for name in NAMES for rule in CONFIGS[name].get_config.rules if rule.wrong
]


def config_of(preset: str, **changes) -> ml_collections.ConfigDict:
  """A preset's config, with a name for each run or file that it requires."""
  name, _, preset = preset.partition(":")
  for key, setting in CONFIGS[name].SETTINGS.items():
    if setting.wrong == settings.REQUIRED:
      if presets.flatten(CONFIGS[name].get_config(preset)).get(key) == settings.REQUIRED:
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


def where_used(name: str, key: str) -> dict:
  """Changes of the debug preset of an experiment that make the key exist."""
  when = CONFIGS[name].SETTINGS[key].when
  return {when[0]: when[1][0]} if when else {}


@pytest.mark.parametrize("name, key", ROWS)
def test_a_value_outside_its_range_is_refused_with_its_key(name, key):
  row = CONFIGS[name].SETTINGS[key]
  wrong = [] if row.wrong is None else [row.wrong]
  wrong += [math.nan, math.inf, -math.inf] if row.kind is float else []
  wrong += [] if row.optional else [None]
  for value in wrong:
    with pytest.raises(UserError, match=rf"config\.{re.escape(key)} is ") as refused:
      presets.check(config_of(f"{name}:debug", **where_used(name, key), **{key: value}))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name, key", ROWS)
def test_a_value_of_another_type_is_refused_with_its_key(name, key):
  values = config_of(f"{name}:debug", **where_used(name, key)).to_dict()
  *sections, last = key.split(".")
  section = values
  for part in sections:
    section = section[part]
  section[last] = [1]
  with pytest.raises(UserError, match=rf"config\.{re.escape(key)} is "):
    presets.check(ml_collections.ConfigDict(values))


@pytest.mark.parametrize("name, rule", RULES)
def test_values_that_violate_a_rule_are_refused(name, rule):
  with pytest.raises(UserError) as refused:
    presets.check(config_of(f"{name}:debug", **rule.wrong))
  assert rule.message in str(refused.value)


@pytest.mark.parametrize("name", NAMES)
def test_float64_is_refused_unless_jax_has_it(name):
  if "model.dtype" not in CONFIGS[name].SETTINGS:
    return
  config = config_of(f"{name}:debug", **{"model.dtype": "float64"})
  with pytest.raises(UserError, match="JAX_ENABLE_X64=1"):
    presets.check(config)
  with jax.enable_x64(True):
    presets.check(config)


@pytest.mark.parametrize("name", NAMES)
def test_the_docstring_describes_every_preset_for_users(name):
  described = re.findall(r"^(\w+)  ", CONFIGS[name].__doc__, re.MULTILINE)
  for preset in CONFIGS[name].PRESETS:
    assert preset in described or preset.startswith("debug")
  assert set(described) <= set(CONFIGS[name].PRESETS)


def test_an_interrupted_run_equals_an_uninterrupted_one(programs, trained, flags_of, tmp_path):
  check_interrupted(programs, trained, flags_of, tmp_path, INTERRUPTED)


@pytest.mark.full
@pytest.mark.parametrize("preset", [p for p in DEBUG if p != INTERRUPTED])
def test_an_interrupted_run_of_any_preset_equals_an_uninterrupted_one(
    programs, trained, flags_of, tmp_path, preset
):
  check_interrupted(programs, trained, flags_of, tmp_path, preset)


def check_interrupted(programs, trained, flags_of, tmp_path, preset):
  expected, workdir = trained(preset), tmp_path / "run"
  steps = sorted({line["step"] for line in metric_log.read(expected / "metrics.jsonl")})
  command = ("launch.train", *flags_of(preset), f"--workdir={workdir}")
  stopped_at = set()
  if len(steps) > 2:
    step = steps[len(steps) // 3]
    finished = programs(*command, signal_at=(step, signal.SIGTERM))
    assert finished.code == 128 + signal.SIGTERM, finished
    assert finished.err.splitlines()[-1] == f"saved at step {step}; the same command resumes"
    assert programs_lib.saved_steps(workdir)[0][-1] == step
    stopped_at.add(step)
  finished = programs(*command, signal_at=(steps[2 * len(steps) // 3], signal.SIGKILL))
  assert finished.code == -signal.SIGKILL, finished
  finished = programs(*command)
  assert finished.code == 0, finished
  programs_lib.assert_same_run(workdir, expected, stopped_at)


def leaves(variables) -> dict[str, np.ndarray]:
  return {
      jax.tree_util.keystr(path): np.asarray(leaf)
      for path, leaf in jax.tree.leaves_with_path(variables)
  }


@pytest.mark.sampled(2)
@pytest.mark.parametrize("preset", MAIN + OTHER)
def test_an_exported_run_is_the_run_and_neither_opens_the_data(
    programs, trained, tmp_path, preset, monkeypatch
):
  run = dlx.load_run(trained(preset))
  monkeypatch.setattr(run.experiment, "load", lambda *_: pytest.fail("the data were loaded"))
  export.export(run, tmp_path / "export")
  exported = dlx.load_run(tmp_path / "export")
  assert exported.step == run.step and exported.task.best == run.task.best
  found, expected = leaves(exported.variables), leaves(run.eval_variables)
  assert found.keys() == expected.keys()
  for name, leaf in expected.items():
    assert found[name].dtype == leaf.dtype and found[name].tobytes() == leaf.tobytes(), name
  assert not set(exported.variables) & set(run.task.training_only)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("preset", MAIN + OTHER)
def test_evaluation_of_an_export_prints_the_validation_after_training(
    programs, trained, tmp_path, preset
):
  workdir = trained(preset)
  export.export(dlx.load_run(workdir), tmp_path / "export")
  finished = programs("launch.evaluate", f"--workdir={tmp_path / 'export'}")
  assert finished.code == 0, finished
  printed = dict(line.rsplit(": ", 1) for line in finished.out.splitlines()[1:])
  del printed["examples"]
  saved = json.loads((workdir / "validation.json").read_text())
  assert printed == {name: f"{value:.4f}" for name, value in saved.items()}


@pytest.mark.parametrize("preset", MAIN + OTHER)
def test_splits_differ_and_the_means_of_their_sum_lie_between(trained, preset):
  run = dlx.load_run(trained(preset))
  data = run.experiment.load(run.config, run.assets)
  mesh, chunk = sharding.make_mesh(), run.config.training.eval_batch_size
  apply = evaluation.make_apply(run.eval_variables, mesh, chunk=chunk)

  def metrics(split):
    return evaluation.evaluate(
        run.task, run.eval_variables, data, split, apply, everything=False
    )

  validation, test, both = map(metrics, ("validation", "test", "validation+test"))
  assert validation != test
  if run.task.eval_fn:
    for name, value in both.items():
      low, high = sorted((validation[name], test[name]))
      # Random numbers of an example depend on its index: allow for metrics that draw some.
      slack = max(0.02 * abs(low), 1e-6)
      assert low - slack <= value <= high + slack, name
  with pytest.raises(UserError, match="split: expected train, validation, test"):
    dlx.evaluate(run, "dev", data)


# Without those whose init_fn is the whole training.
STEPPING = [p for p in DEBUG if config_of(p).training.total_steps != "0"]


@pytest.mark.full
@pytest.mark.parametrize("preset", STEPPING)
def test_eight_devices_train_and_evaluate_as_one(programs, in_float64, tmp_path, preset):
  """Compares variables and validation in float64; float32 amplifies rounding."""
  flags, one = in_float64(preset)
  devices = "--xla_force_host_platform_device_count=8"
  finished = programs(
      "launch.train", *flags, f"--workdir={tmp_path / 'run'}", float64=True, XLA_FLAGS=devices
  )
  assert finished.code == 0, finished
  assert programs_lib.distance(tmp_path / "run", one) < 1e-10
  found, expected = map(programs_lib.validation, (tmp_path / "run", one))
  assert found == pytest.approx(expected, rel=1e-8, abs=1e-12) and expected


@pytest.mark.full
@pytest.mark.parametrize("preset", STEPPING)
def test_the_first_step_of_eight_devices_in_float32_is_that_of_one(
    programs, flags_of, tmp_path, preset
):
  flags = ("--config.training.total_steps=1", "--config.optimizer.warmup_steps=0")
  for devices in (1, 8):
    finished = programs(
        "launch.train", *flags_of(preset), *flags, f"--workdir={tmp_path / str(devices)}",
        XLA_FLAGS=f"--xla_force_host_platform_device_count={devices}",
    )  # fmt: skip
    assert finished.code == 0, finished
  assert programs_lib.distance(tmp_path / "8", tmp_path / "1", np.float32) < 1e-5


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name", NAMES)
def test_a_run_is_refused_on_other_data(trained, tmp_path, name):
  folder = shutil.copytree(trained(f"{name}:debug"), tmp_path / "run")
  record = json.loads((folder / "data.json").read_text())
  changed = {**record, "train": "0" * 16, "test": "0" * 16}
  workdirs.write_json(folder, "data.json", changed)
  before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
  run = dlx.load_run(folder)
  with pytest.raises(UserError, match="the train data are not those that the run in"):
    dlx.train(run.config, folder)
  with pytest.raises(UserError, match="the test data are not those that the run in"):
    dlx.evaluate(run, "test")
  found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
  assert {path: found.get(path) for path in before} == before


@pytest.mark.sampled(3)
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
  if "window" in config.data:
    line = " ".join(map(str, range(config.data.window)))
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
