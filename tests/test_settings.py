"""Settings: defaults, types, ranges, lengths, and the sections that experiments share."""

import math

import pytest

from dlx import settings
from dlx.settings import REQUIRED


def is_valid(setting, value):
  return setting.is_valid(settings.cast(setting, value))


# A setting, values that it accepts, values that it refuses.
RANGES = {
    "count": (settings.count(3), [1, 3, 10**9], [0, -1]),
    "count from 0 to 5": (settings.count(3, 0, 5), [0, 5], [-1, 6]),
    "number": (settings.number(0.5), [0, 0.0, 1e300], [-1e-9, math.inf, math.nan]),
    "number to 1": (settings.number(0.5, high=1.0), [0, 1], [1.001, -math.inf, math.nan]),
    "positive": (settings.positive(1.0), [1e-300, 5], [0, -1, math.inf, math.nan]),
    "positive to 2": (settings.positive(1.0, 2.0), [2], [2.1, 0.0]),
    "rate": (settings.rate(0.1), [0, 0.999], [1, 1.0, -0.1, math.nan, math.inf]),
    "one_of": (settings.one_of("gru", "lstm"), ["gru", "lstm"], ["", "gur", "GRU"]),
    "text": (settings.text(), ["a.txt"], [""]),
    "run": (settings.run("experiments.gru_lm:debug"), ["runs/a"], [REQUIRED]),
    "matching": (
        settings.matching("3x3", r"\d+x\d+", "HEIGHTxWIDTH", "3"), ["3x3", "11x7"], ["3", "3x3 "]
    ),
    "length": (
        settings.length(5),
        ["1", "200", "200 steps", "1 step", "200steps", "20 epochs", "0.5 epochs", "7.4epochs", 9],
        ["", "0", "0 epochs", "-1", "1.5", "1.5 steps", "20 epoch s", "epochs", "1e3", " 5",
         "20 epochs 200 steps", "200 steps 20 epochs", "inf", "nan", "five steps"],
    ),
    "length from 0": (settings.length(0, low=0), ["0", "0 epochs", 0], ["-1", "", "0.5"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RANGES)
def test_a_setting_accepts_exactly_its_range(name):
  setting, valid, invalid = RANGES[name]
  assert [value for value in valid if not is_valid(setting, value)] == []
  assert [value for value in invalid if is_valid(setting, value)] == []


@pytest.mark.parametrize("name", RANGES)
def test_the_default_is_valid_and_the_wrong_value_is_not(name):
  setting = RANGES[name][0]
  if setting.default not in (None, REQUIRED):
    assert isinstance(setting.default, setting.kind) and is_valid(setting, setting.default)
  assert isinstance(setting.wrong, setting.kind) and not is_valid(setting, setting.wrong)


def test_a_flag_has_no_wrong_value():
  assert settings.flag(True).default is True and settings.flag(False).wrong is None


@pytest.mark.parametrize(
    "setting, value, expected",
    [
        (settings.number(0.0), 4, 4.0),
        (settings.rate(None, optional=True), None, None),
        (settings.length(1), 200, "200"),
        (settings.length(1), "2 epochs", "2 epochs"),
        (settings.count(1), 7, 7),
        (settings.flag(False), True, True),
        # Values of another type are not changed, so that the check refuses them.
        (settings.number(0.0), True, True),
        (settings.count(1), 1.5, 1.5),
        (settings.count(1), 2.0, 2),
        (settings.count(1), "many", "many"),
        (settings.number(1.0), [1], [1]),
    ],
)
def test_values_are_cast_to_the_type_of_the_setting(setting, value, expected):
  found = settings.cast(setting, value)
  assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    "value, steps_per_epoch, expected",
    [
        ("200", None, 200),
        ("200 steps", 7, 200),
        ("0", None, 0),
        ("0 epochs", 7, 0),
        ("20 epochs", 7, 140),
        ("1 epoch", 7, 7),
        ("0.5 epochs", 7, 3),
        ("7.4 epochs", 97, 717),
        ("0.29 epochs", 100, 29),  # 0.29 * 100 is 28.999999999999996.
        ("0.001 epochs", 7, 1),  # At least one step.
    ],
)
def test_lengths_in_steps(value, steps_per_epoch, expected):
  assert settings.steps(value, steps_per_epoch) == expected


def test_a_length_in_epochs_needs_data_with_epochs():
  with pytest.raises(ValueError, match="'20 epochs' is in epochs, but the data have none"):
    settings.steps("20 epochs", None)


def test_only_lengths_are_lengths():
  table = {**settings.training(), **settings.adamw()}
  assert [key for key, setting in table.items() if settings.is_length(setting)] == [
      "training.total_steps", "training.eval_every", "training.save_every",
      "optimizer.warmup_steps",
  ]  # fmt: skip


def test_sections_take_other_defaults_which_are_cast():
  table = settings.training(total_steps=50, ema_decay=0, eval_every="2 epochs")
  assert table["training.total_steps"].default == "50"
  assert table["training.eval_every"].default == "2 epochs"
  assert table["training.ema_decay"].default == 0.0
  assert table["training.ema_decay"].optional
  with pytest.raises(ValueError, match="training: unknown settings total_step"):
    settings.training(total_step=5)
  with pytest.raises(ValueError, match="optimizer: unknown settings clip, rate"):
    settings.adamw(rate=5, clip=1)


def test_a_training_of_no_steps_is_possible_but_no_other_length_is_0():
  table = settings.training()
  assert is_valid(table["training.total_steps"], 0)
  for name in ("steps_per_execution", "eval_every", "save_every", "eval_batch_size", "fsdp"):
    assert not is_valid(table[f"training.{name}"], 0), name
  for name, wrong in (("max_to_keep", -1), ("max_to_keep", 0), ("ema_decay", 1.0)):
    assert not is_valid(table[f"training.{name}"], wrong), name


@pytest.mark.parametrize(
    "key, invalid",
    [
        ("learning_rate", [0, -1, math.nan, math.inf]),
        ("adam_learning_rate", [0, -1, math.nan, math.inf]),
        ("clip_norm", [0, -1, math.nan, math.inf]),  # None is no clipping.
        ("momentum", [-0.1, 1.0]),
        ("b1", [-0.1, 1.0]),
        ("b2", [-0.1, 1.0]),
        ("weight_decay", [-0.1, math.nan, math.inf]),
        ("end_lr_fraction", [-0.1, 1.1]),
        ("warmup_steps", ["-1"]),
        ("decay", ["cosin"]),
        ("name", ["adam"]),
    ],
)
def test_values_of_optimizers_out_of_their_ranges_are_refused(key, invalid):
  setting = settings.optimizers("sgd", "adamw", "muon")[f"optimizer.{key}"]
  assert [value for value in invalid if is_valid(setting, value)] == []
  assert setting.optional == (key == "clip_norm")


def test_a_single_optimizer_has_only_its_own_keys_and_no_name():
  common = {
      "learning_rate", "warmup_steps", "decay", "end_lr_fraction", "weight_decay", "clip_norm",
  }  # fmt: skip
  for name, own in (
      ("adamw", {"b1", "b2"}), ("sgd", {"momentum"}), ("muon", {"momentum", "adam_learning_rate"}),
  ):  # fmt: skip
    table = settings.optimizers(name)
    assert set(table) == {f"optimizer.{key}" for key in common | own}
    assert all(setting.when is None for setting in table.values())
  assert settings.adamw().keys() == settings.optimizers("adamw").keys()


def test_of_several_optimizers_the_first_is_the_default_and_keys_depend_on_the_name():
  table = settings.optimizers("sgd", "adamw", momentum=0.5)
  assert table["optimizer.name"].default == "sgd"
  assert table["optimizer.momentum"].default == 0.5
  assert table["optimizer.momentum"].when == ("optimizer.name", ("sgd",))
  assert table["optimizer.b1"].when == ("optimizer.name", ("adamw",))
  assert table["optimizer.learning_rate"].when is None
  assert "optimizer.adam_learning_rate" not in table  # Of Muon only.
