"""--help with --config: every key with its value, its range and its comment."""

import importlib

import programs as programs_lib
import pytest

from dlx import presets
from launch.cli import listing

NAMES = sorted(path.parent.name for path in programs_lib.ROOT.glob("experiments/*/config.py"))


def listed(*flags: str) -> dict[str, str]:
  """{key: text behind it} of the lines."""
  head, *lines = listing.of(flags).replace("\n    ", " ").splitlines()
  assert head.startswith("keys of experiments.")
  pairs = [line.removeprefix("  --config.").partition(": ") for line in lines]
  return {name: text for name, _, text in pairs}


@pytest.mark.parametrize("name", NAMES)
def test_every_key_is_listed_with_its_value_and_range(name):
  module = importlib.import_module(f"experiments.{name}.config")
  for preset in module.PRESETS:
    found = listed(f"--config=experiments/{name}/config.py:{preset}")
    values = presets.flatten(module.get_config(preset))
    assert [key.partition("=")[0] for key in found] == ["seed", *module.SETTINGS]
    for key, setting in module.SETTINGS.items():
      (given,) = (k.partition("=")[2] for k in found if k.startswith(f"{key}="))
      text = found[f"{key}={given}"]
      assert setting.hint in text and (not setting.optional or " or None" in text)
      assert given == ("..." if "required" in text else str(values.get(key, setting.default)))


def test_comments_of_the_table_and_of_shared_rows_are_shown():
  found = listed("--config=experiments/masked_lm/config.py:debug")
  assert found["data.mask_rate=0.15"].endswith("at most 1. The fraction of tokens to predict.")
  shared = found["data.num_lengths=2"]  # From another experiment's table.
  assert shared == "1 or more. Lengths that batches are truncated to."
  assert found["training.steps_per_execution=5"].endswith("Steps in one compiled call.")
  assert found["model.dropout_rate=0.1"] == "0 <= rate < 1."
  pairs = listed("--config=experiments/seq2seq/config.py:spans")  # From a module of settings.
  assert pairs["data.span_length=3.0"] == "1 or more. The mean."


def test_settings_that_are_not_used_name_their_condition():
  found = listed("--config=experiments/resnet_cifar10/config.py", "--config.optimizer.name=muon")
  assert found["optimizer.b1=0.9"].startswith("with optimizer.name=adamw only: 0 <= rate < 1.")
  assert found["optimizer.adam_learning_rate=0.004"].startswith("a finite number above 0.")


def test_values_of_the_command_line_are_shown():
  assert "seed=7" in listed("--config", "experiments/gru_lm/config.py:debug", "--config.seed=7")
  assert listing.of(["--workdir=x"]) == ""


def test_help_shows_the_keys_or_one_line(programs):
  config = "--config=experiments/gru_lm/config.py"
  shown = programs("launch.train", "--help", f"{config}:debug")
  assert shown.code == 0 and "--config.model.cell=gru: gru, rnn, lstm." in shown.out
  wrong = programs("launch.train", "--help", f"{config}:debgu")
  assert wrong.code == 2 and wrong.err.count("\n") == 1 and not wrong.out, wrong


@pytest.mark.parametrize("program, flags", [
    ("evaluate", ["workdir"]), ("export", ["workdir", "output"]),
    ("clusters.tpu", ["name", "zone"]),
])  # fmt: skip
def test_help_marks_required_flags(programs, program, flags):
  out = programs(f"launch.{program}", "--help").out
  marked = [line.split(":")[0].strip() for line in out.splitlines() if ": Required: " in line]
  assert sorted(marked) == sorted(f"--{flag}" for flag in flags)
