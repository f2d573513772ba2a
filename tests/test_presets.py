"""Configs of a table of settings: presets, changes, the check, lengths in steps."""

import json
import math
import sys
import types

import pytest

from dlx import presets, settings
from dlx.errors import UserError
from dlx.settings import REQUIRED, Rule, count, flag, length, number, one_of, run, text

SETTINGS = {
    "data.file": text(),
    "data.batch_size": count(8),
    "model.cell": one_of("gru", "lstm"),
    "model.width": number(1.0),
    "model.depth": count(None, optional=True),
    "model.forget_bias": number(1.0)._replace(when=("model.cell", ("lstm",))),
    "model.residual": flag(False),
    "teacher": run(None),
    "init_from": run(None, optional=True),
    "burn_in": length("1 epoch", low=0),
    **settings.optimizers("sgd", "adamw", warmup_steps="1 epoch"),
    **settings.training(total_steps="4 epochs", eval_every="0.5 epochs", save_every=50),
}
PRESETS = {
    "small": {"teacher": "runs/t"},
    "wide": {"base": "small", "model.width": 4, "training.total_steps": 200},
    "wide_lstm": {"base": "wide", "model.cell": "lstm", "model.depth": 2},
    "deep": {"base": "wide_lstm", "model.depth": None, "model.width": 8},
    "student": {},  # The command line names the teacher of a student.
    "tuned": {"base": "small", "init_from": REQUIRED},
}
RULES = (
    Rule(
        lambda c: c.model.depth is None or c.data.batch_size >= c.model.depth,
        "data.batch_size must be at least model.depth", {"model.depth": 9},
    ),
)  # fmt: skip
EXPERIMENT = "table_of_test_presets"


@pytest.fixture(scope="module")
def get_config():
  """Of the table above, which is the config module of a package."""
  module = types.ModuleType(f"{EXPERIMENT}.config")
  module.SETTINGS, module.PRESETS = SETTINGS, PRESETS
  module.get_config = presets.make(EXPERIMENT, SETTINGS, PRESETS, RULES)
  package = types.ModuleType(EXPERIMENT)
  package.__path__ = []
  sys.modules |= {EXPERIMENT: package, module.__name__: module}
  yield module.get_config
  del sys.modules[EXPERIMENT], sys.modules[module.__name__]


def test_the_first_preset_is_the_default_and_has_the_defaults(get_config):
  config = get_config()
  assert (config.experiment, config.preset, config.seed) == (EXPERIMENT, "small", 0)
  flat = presets.flatten(config)
  used = {key for key in SETTINGS if key not in ("model.forget_bias", "optimizer.b1",
                                                 "optimizer.b2")}  # fmt: skip
  assert set(flat) == used | {"experiment", "preset", "seed"}
  for key in used - {"teacher"}:
    assert flat[key] == SETTINGS[key].default, key


def test_a_preset_changes_its_base_which_changes_the_defaults(get_config):
  for preset, cell, width, depth, total_steps in (
      ("small", "gru", 1.0, None, "4 epochs"),
      ("wide", "gru", 4.0, None, "200"),
      ("wide_lstm", "lstm", 4.0, 2, "200"),
      ("deep", "lstm", 8.0, None, "200"),
  ):
    config = get_config(preset)
    assert (config.model.cell, config.model.depth) == (cell, depth)
    assert config.model.width == width and isinstance(config.model.width, float)
    assert config.training.total_steps == total_steps
    presets.check(config)


def test_changes_come_after_the_preset_and_are_cast(get_config):
  changes = {"model.width": 2, "training.eval_every": 7, "seed": 5, "training.ema_decay": 0}
  config = get_config("wide", changes=changes)
  assert config.model.width == 2.0 and isinstance(config.model.width, float)
  assert config.training.eval_every == "7" and config.seed == 5
  assert config.training.ema_decay == 0.0 and isinstance(config.training.ema_decay, float)
  assert changes["seed"] == 5, "the argument is not modified"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_config_is_locked_and_strict_json(get_config, preset):
  config = get_config(preset)
  assert config.is_locked and config.model.is_locked
  with pytest.raises((KeyError, AttributeError)):
    config.model.widht = 3
  text = json.dumps(config.to_dict(), allow_nan=False)
  assert json.loads(text) == config.to_dict()


def test_optional_values_may_be_none_and_keep_their_type(get_config):
  config = get_config("wide_lstm")
  config.model.depth = None
  config.model.depth = 3
  with pytest.raises(TypeError):
    config.model.depth = "deep"
  assert get_config(changes={"optimizer.clip_norm": None}).optimizer.clip_norm is None
  presets.check(get_config(changes={"optimizer.clip_norm": None, "model.depth": None}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"data.batch_size": None}, "config.data.batch_size is None; expected 1 or more"),
        ({"data.batch_size": 1.5}, "config.data.batch_size is 1.5; expected 1 or more"),
        ({"data.batch_size": True}, "config.data.batch_size is True; expected 1 or more"),
        ({"model.width": "wide"}, "config.model.width is 'wide'; expected 0 or more"),
        ({"model.depth": 1.5}, "config.model.depth is 1.5; expected 1 or more or None"),
        ({"model.residual": 1.5}, "config.model.residual is 1.5; expected True or False"),
    ],
)
def test_changes_of_another_type_are_refused(get_config, changes, message):
  with pytest.raises(UserError, match=f"^{message}$"):
    get_config(changes=changes)


def test_unknown_presets_and_bases_are_refused(get_config):
  with pytest.raises(UserError, match="preset 'smal' does not exist; presets are small, wide"):
    get_config("smal")
  with pytest.raises(UserError, match="preset b of x: base 'c' does not exist; presets are a, b"):
    presets.make("x", SETTINGS, {"a": {}, "b": {"base": "c"}})


@pytest.mark.parametrize("chain", ["a", "ba", "cba"])
def test_a_base_that_leads_back_to_itself_is_refused(chain):
  table = {name: {"base": base} for name, base in zip(chain, chain[1:] + chain[0])}
  with pytest.raises(UserError, match=f"preset {chain[0]} of x: its base leads back to itself"):
    presets.make("x", SETTINGS, table)(chain[0])


@pytest.mark.parametrize(
    "key, hint",
    [
        ("model.widht", "did you mean model.width[?]"),
        ("learning_rate", "did you mean optimizer.learning_rate[?]"),
        ("total_step", "did you mean training.total_steps[?]"),
        ("model", "did you mean model"),
        ("qqqzzz", "keys are (seed, )?data.file, data.batch_size"),
    ],
)
def test_unknown_keys_are_refused_with_the_nearest_one(get_config, key, hint):
  message = f"{key} is not a key of this config; {hint}"
  with pytest.raises(UserError, match=f"^{message}"):
    get_config(changes={key: 1})
  with pytest.raises(UserError, match=f"^preset a of x: {message}"):
    presets.make("x", SETTINGS, {"a": {key: 1}})
  config = get_config().unlock()
  *sections, name = key.split(".")
  section = presets.get(config, ".".join(sections)) if sections else config
  if name not in section:
    section[name] = 1
    with pytest.raises(UserError, match=f"^config.{message}"):
      presets.check(config)


def test_keys_exist_only_where_they_are_used(get_config):
  assert "forget_bias" not in get_config("wide").model
  assert get_config("wide_lstm").model.forget_bias == 1.0
  adamw = get_config(changes={"optimizer.name": "adamw"}).optimizer
  assert {"b1", "b2"} <= set(adamw) and "momentum" not in adamw
  assert "momentum" in get_config().optimizer and "b1" not in get_config().optimizer


def test_a_key_that_is_not_used_is_refused(get_config):
  message = "config.optimizer.b1 is not used with optimizer.name=sgd; it belongs to adamw"
  with pytest.raises(UserError, match=message):
    get_config(changes={"optimizer.b1": 0.9})
  config = get_config().unlock()
  config.optimizer.b1 = 0.9
  with pytest.raises(UserError, match=message):
    presets.check(config)
  get_config(changes={"optimizer.b1": 0.9, "optimizer.name": "adamw"})


@pytest.mark.parametrize("key", ["data.batch_size", "model.forget_bias", "teacher"])
def test_a_missing_key_is_refused(get_config, key):
  config = get_config("deep").unlock()
  *sections, name = key.split(".")
  del (presets.get(config, ".".join(sections)) if sections else config)[name]
  with pytest.raises(UserError, match=f"config.{key} is missing; expected"):
    presets.check(config)


@pytest.mark.parametrize("preset, key", [("student", "teacher"), ("tuned", "init_from")])
def test_a_required_value_has_to_be_given(get_config, preset, key):
  config = get_config(preset)
  assert config[key] == REQUIRED
  message = f"config.{key} is missing; give it the folder of a run"
  with pytest.raises(UserError, match=message):
    presets.check(config)
  presets.check(get_config(preset, changes={key: "runs/t"}))


@pytest.mark.parametrize("key", [key for key, setting in SETTINGS.items() if setting.wrong])
def test_the_check_refuses_the_wrong_value_of_every_setting(get_config, key):
  changes = {"model.cell": "lstm", "teacher": "runs/t", key: SETTINGS[key].wrong}
  if key in ("optimizer.b1", "optimizer.b2"):
    changes["optimizer.name"] = "adamw"
  with pytest.raises(UserError, match=rf"^config\.{key} is (.*; expected|missing; give it) "):
    presets.check(get_config(changes=changes))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["model.width", "optimizer.learning_rate", "optimizer.clip_norm",
                                 "optimizer.momentum", "optimizer.weight_decay"])  # fmt: skip
def test_numbers_that_are_not_finite_are_refused(get_config, key, value):
  with pytest.raises(UserError, match=f"config.{key} is {value}; expected"):
    presets.check(get_config(changes={key: value}))


@pytest.mark.parametrize("seed, valid", [
    (0, True), (2**32 - 1, True), (-1, False), (2**32, False),
])  # fmt: skip
def test_a_seed_has_32_bits(get_config, seed, valid):
  config = get_config(changes={"seed": seed})
  if valid:
    presets.check(config)
  else:
    with pytest.raises(UserError, match=f"config.seed is {seed}; expected 0 <= seed < 2"):
      presets.check(config)


@pytest.mark.parametrize("seed", ["3", 1.5, None, True])
def test_a_seed_is_an_integer(get_config, seed):
  config = get_config().unlock()
  with config.ignore_type():
    config.seed = seed
  with pytest.raises(UserError, match="config.seed is"):
    presets.check(config)


def test_rules_are_checked_after_the_values(get_config):
  presets.check(get_config(changes={"model.depth": 8}))
  with pytest.raises(UserError, match="config: data.batch_size must be at least model.depth"):
    presets.check(get_config(changes=RULES[0].wrong))
  with pytest.raises(UserError, match="config.data.batch_size is 0"):
    presets.check(get_config(changes={**RULES[0].wrong, "data.batch_size": 0}))


def test_lengths_become_steps_and_the_config_is_not_changed(get_config):
  config = get_config()
  resolved = presets.in_steps(config, 30)
  assert resolved.training.total_steps == 120 and resolved.training.eval_every == 15
  assert resolved.training.save_every == 50 and resolved.burn_in == 30
  assert resolved.optimizer.warmup_steps == 30
  assert config.training.total_steps == "4 epochs" and config.burn_in == "1 epoch"
  lengths = {key for key, setting in SETTINGS.items() if settings.is_length(setting)}
  others = [
      {key: value for key, value in presets.flatten(c).items() if key not in lengths}
      for c in (config, resolved)
  ]
  assert others[0] == others[1]


def test_epochs_need_data_with_epochs(get_config):
  with pytest.raises(UserError, match="config.burn_in: '1 epoch' is in epochs, but the data have"):
    presets.in_steps(get_config(), None)
  changes = {key: 3 for key in ("burn_in", "training.eval_every", "optimizer.warmup_steps")}
  assert presets.in_steps(get_config("wide", changes=changes), None).training.total_steps == 200


@pytest.mark.parametrize("warmup, total", [("4 epochs", "4 epochs"), (40, 40), ("1 epoch", 7)])
def test_the_warmup_is_shorter_than_the_run(get_config, warmup, total):
  changes = {"optimizer.warmup_steps": warmup, "training.total_steps": total}
  message = r"optimizer.warmup_steps is \d+; expected less than config.training.total_steps, \d+"
  with pytest.raises(UserError, match=message):
    presets.in_steps(get_config(changes=changes), 10)


def test_a_run_without_steps_needs_no_warmup(get_config):
  config = get_config(changes={"training.total_steps": 0})
  assert presets.in_steps(config, 10).training.total_steps == 0


def test_flatten_joins_the_names_of_sections():
  nested = {"a": {"b": 1, "c": {"d": (1, 2)}}, "e": None}
  assert presets.flatten(nested) == {"a.b": 1, "a.c.d": [1, 2], "e": None}


def test_an_experiment_that_cannot_be_imported_is_one_line(get_config):
  config = get_config().unlock()
  config.experiment = "experiments.none"
  message = "experiments.none is not one of dlx's own.*--experiments=experiments.none"
  with pytest.raises(UserError, match=message):
    presets.check(config)
