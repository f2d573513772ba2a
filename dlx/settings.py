"""Settings: the rows of a config table, each with its default and its range.

  SETTINGS = {
      "model.d_hidden": count(400),  # Units of the hidden layer.
      **settings.adamw(learning_rate=1e-3),
      **settings.training(total_steps="20 epochs"),
  }

dlx.presets makes configs of such a table and checks them.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
import math
import re
from typing import Any, NamedTuple

import jax
import ml_collections

REQUIRED = ""  # The value of a preset for a word that the command line has to give.


class Setting(NamedTuple):
  """One value of a config.

  Attributes:
    default: the value where no preset says otherwise.
    kind: the type.
    is_valid: whether a value of that type is in the range.
    hint: the range in words, after "expected".
    wrong: a value outside the range for tests; None when every value is valid.
    optional: whether None is allowed too.
    when: (key, choices): the setting exists only where `key` has one of these values.
    example: "EXPERIMENT:PRESET" of a run that the setting may name; for tests.
  """

  default: Any
  kind: type
  is_valid: Callable[[Any], bool]
  hint: str
  wrong: Any = None
  optional: bool = False
  when: tuple[str, tuple[str, ...]] | None = None
  example: str | None = None


class Rule(NamedTuple):
  """A condition on several settings.

  Attributes:
    is_valid: `is_valid(config)`.
    message: names the settings and the expected relation.
    wrong: {key: value} that violates it, for tests; None when it depends on the machine.
  """

  is_valid: Callable[[ml_collections.ConfigDict], bool]
  message: str
  wrong: Mapping[str, Any] | None = None


def one_of(*choices: str) -> Setting:
  """One of several words; the first is the default."""
  return Setting(choices[0], str, lambda v: v in choices, ", ".join(choices), "?")


def flag(default: bool) -> Setting:
  """True or False."""
  return Setting(default, bool, lambda v: True, "True or False")


def text(default: str | None = None) -> Setting:
  """A word, such as a file name, or None."""
  return Setting(default, str, bool, "a word", REQUIRED, optional=True)


def matching(default: str, pattern: str, hint: str, wrong: str) -> Setting:
  """A word that matches a regular expression."""
  return Setting(default, str, lambda v: bool(re.fullmatch(pattern, v)), hint, wrong)


def run(example: str | None, *, optional: bool = False) -> Setting:
  """The folder of another run, such as `example`, "experiments.resnet_cifar10:debug", trains."""
  default = None if optional else REQUIRED
  return Setting(default, str, bool, "the folder of a run", REQUIRED, optional, example=example)


def count(
    default: int | None, low: int = 1, high: float = math.inf, *, optional: bool = False
) -> Setting:
  """An integer from `low` to `high`."""
  hint = f"{low} or more" if high == math.inf else f"{low} to {high}"
  return Setting(default, int, lambda v: low <= v <= high, hint, low - 1, optional)


def number(
    default: float | None, low: float = 0.0, high: float = math.inf, *, optional: bool = False
) -> Setting:
  """A finite number from `low` to `high`."""
  hint = f"{low:g} or more" if high == math.inf else f"{low:g} to {high:g}"
  is_valid = lambda v: low <= v <= high and math.isfinite(v)  # noqa: E731
  return Setting(default, float, is_valid, hint, low - 1.0, optional)


def positive(
    default: float | None, high: float = math.inf, *, optional: bool = False
) -> Setting:
  """A finite number above 0, at most `high`."""
  hint = "a finite number above 0" if high == math.inf else f"above 0 and at most {high:g}"
  is_valid = lambda v: 0 < v <= high and math.isfinite(v)  # noqa: E731
  return Setting(default, float, is_valid, hint, 0.0, optional)


def rate(default: float | None, *, optional: bool = False) -> Setting:
  """A fraction below 1."""
  return Setting(default, float, lambda v: 0 <= v < 1, "0 <= rate < 1", 1.0, optional)


_LENGTH = re.compile(r"(\d+(?:\.\d+)?) ?(epochs?|steps?)?")
_LENGTH_HINT = 'a number of steps or of epochs, such as "200" or "20 epochs"'


def length(default: int | str, low: int = 1) -> Setting:
  """A number of steps, "200" or "200 steps", or of epochs, "20 epochs"; see `in_steps`."""

  def is_valid(value: str) -> bool:
    match = _LENGTH.fullmatch(value)
    if not match or (not (match[2] or "").startswith("epoch") and "." in match[1]):
      return False
    return float(match[1]) > 0 or low == 0

  return Setting(str(default), str, is_valid, _LENGTH_HINT, "20 epochs 200 steps")


def training(**changes) -> dict[str, Setting]:
  """The settings of the training loop; `changes` replaces defaults."""
  settings = {
      "total_steps": length(1000, low=0),  # 0: init_fn is the whole training.
      "steps_per_execution": count(10),  # Steps in one compiled call.
      "eval_every": length(100),
      "save_every": length(100),
      "patience": count(None, optional=True),  # Evaluations after the best one; None: all steps.
      "eval_batch_size": count(64),  # Examples per chunk of an evaluation, over all devices.
      "max_to_keep": count(2),  # Latest checkpoints; the best one is kept too.
      "fsdp": count(1),  # Devices that share one copy of the parameters.
      "ema_decay": rate(None, optional=True),  # Of averaged parameters; None for none.
  }
  return _section("training", settings, changes)


def adamw(**changes) -> dict[str, Setting]:
  """The settings of dlx.training.optimizers.adamw; `changes` replaces defaults."""
  return optimizers("adamw", **changes)


def optimizers(*names: str, **changes) -> dict[str, Setting]:
  """The settings of a choice of "sgd", "adamw" and "muon"; a key exists where it is used.

  Args:
    *names: the optimizers to choose from; the first is the default.
    **changes: replaces defaults.
  """

  def only(setting: Setting, *users: str) -> Setting:
    where = tuple(user for user in users if user in names)
    return setting if len(where) == len(names) else setting._replace(when=("optimizer.name", where))

  settings = {
      "name": one_of(*names),
      "learning_rate": positive(1e-3),
      "warmup_steps": length(0, low=0),
      "decay": one_of("cosine", "linear", "constant"),
      "end_lr_fraction": number(0.0, high=1.0),
      "momentum": only(rate(0.9), "sgd", "muon"),
      "b1": only(rate(0.9), "adamw"),
      "b2": only(rate(0.99), "adamw"),
      "adam_learning_rate": only(positive(4e-3), "muon"),  # For non-matrix parameters.
      "weight_decay": number(0.0),
      "clip_norm": positive(1.0, optional=True),  # None: no gradient clipping.
  }
  used = {k: s for k, s in settings.items() if s.when is None or set(s.when[1]) & set(names)}
  if len(names) == 1:
    del used["name"]
  return _section("optimizer", used, changes)


def image_data(*datasets: str, **changes) -> dict[str, Setting]:
  """The settings of dlx.data.images.from_options; `changes` replaces defaults.

  Args:
    *datasets: names of dlx.data.images; the first is the default.
    **changes: replaces defaults.
  """
  settings = {
      "images": text(),  # A folder, which replaces the dataset.
      "dataset": one_of(*datasets),
      "size": count(None, low=4, optional=True),  # Pixels; None: the dataset's own.
      "num_validation": count(5000),  # Images taken from the training split.
      "batch_size": count(128),
  }
  return _section("data", settings, changes)


def language_data(*datasets: str, **changes) -> dict[str, Setting]:
  """The settings of dlx.data.language.load; `changes` replaces defaults.

  Args:
    *datasets: names of dlx.data.corpus; the first is the default.
    **changes: replaces defaults.
  """
  learned = {"when": ("data.tokens", ("words", "byte_pairs"))}
  settings = {
      "text": text(),  # A text file, which replaces the dataset.
      "num_train_words": count(None, optional=True),  # Of that file; None: the first 90 % of it.
      "num_validation_words": count(200_000),  # The words after these; the rest is test.
      "dataset": one_of(*datasets),
      "max_characters": count(4_000_000),  # Of python_source.
      "tokens": one_of("characters", "words", "byte_pairs"),
      "vocab_size": count(10_000, low=2)._replace(**learned),
      # Whose words are counted for it; all: validation and test too, as in Bengio et al. (2003).
      "vocab_source": one_of("train", "all")._replace(**learned),
      "batch_size": count(32),
      "seq_len": count(128),
      "eval_seq_len": count(256),
  }
  return _section("data", settings, changes)


SAMPLED_INPUTS = {
    # The fraction of inputs that the model draws: 0 is teacher forcing, 1 free running.
    "sampled_inputs.rate": number(0.0, high=1.0),
    "sampled_inputs.schedule": one_of("linear", "constant"),  # Growing over the run, or not.
    "exposure_curve": flag(False),  # Draw the loss by position, fed the text and its own output.
}
DTYPE_RULE = Rule(
    lambda c: c.model.dtype != "float64" or jax.config.jax_enable_x64,
    "model.dtype is float64, which jax supports only with JAX_ENABLE_X64=1",
)
LANGUAGE_RULES = (
    Rule(
        lambda c: c.data.text or not c.data.num_train_words,
        "data.num_train_words divides a text file; name it by data.text",
        {"data.num_train_words": 1000},
    ),
)


def _section(name: str, settings: dict, changes: dict) -> dict[str, Setting]:
  """The settings under "name."; a default that is replaced keeps its type and range."""
  if unknown := changes.keys() - settings.keys():
    raise ValueError(f"{name}: unknown settings {', '.join(sorted(unknown))}")
  for key, value in changes.items():
    settings[key] = settings[key]._replace(default=cast(settings[key], value))
  return {f"{name}.{key}": setting for key, setting in settings.items()}


def cast(setting: Setting, value: Any) -> Any:
  """4 as 4.0 where the setting is a float, 200 as "200" where it is a length.

  Values that would change (1.5 as an integer) are returned as they are.
  """
  if value is None or isinstance(value, bool):
    return value
  try:
    converted = setting.kind(value)
  except (TypeError, ValueError):
    return value
  return converted if setting.kind is str or converted == value else value


def has_type(setting: Setting, value: Any) -> bool:
  """Whether a value has the type of a setting, or is None where that is allowed."""
  if value is None:
    return setting.optional
  # True is an int for Python.
  return isinstance(value, setting.kind) and (setting.kind is bool or not isinstance(value, bool))


def steps(value: str, steps_per_epoch: int | None) -> int:
  """The number of steps of a `length`.

  Raises:
    ValueError: the length is in epochs, and steps_per_epoch is None.
  """
  amount, unit = _LENGTH.fullmatch(value).groups()
  if not (unit or "").startswith("epoch"):
    return int(amount)
  if steps_per_epoch is None:
    raise ValueError(f"{value!r} is in epochs, but the data have none; give a number of steps")
  exact = Fraction(amount) * steps_per_epoch  # 0.29 * 100 is 28.99... in floating point.
  return max(1, int(exact)) if exact else 0


def is_length(setting: Setting) -> bool:
  """Whether a setting is a `length`."""
  return setting.hint == _LENGTH_HINT
