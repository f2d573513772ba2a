"""Configs of a table of settings: presets, overrides, and the one check of a config.

An experiment's config.py ends in

  PRESETS = {"fashion": {}, "wide": {"base": "fashion", "model.d_hidden": 800}}
  get_config = presets.make("experiments.vae", SETTINGS, PRESETS)
"""

from collections.abc import Callable, Collection, Mapping, Sequence
import difflib
import importlib
import importlib.machinery
import pathlib
import sys
from types import ModuleType
from typing import Any

import ml_collections
from ml_collections import config_dict

from dlx import settings as settings_lib
from dlx.errors import UserError
from dlx.settings import Rule, Setting


def make(
    experiment: str,
    settings: Mapping[str, Setting],
    overrides: Mapping[str, Mapping[str, Any]],
    rules: Sequence[Rule] = (),
) -> Callable[..., ml_collections.ConfigDict]:
  """`get_config(preset, changes={})`: the defaults, changed by a preset and then by `changes`.

  Args:
    experiment: the package's name, "experiments.vae".
    settings: by key, "model.d_hidden".
    overrides: for each preset the keys that differ from the defaults; "base" names the preset
      whose overrides come first. The first preset is the default.
    rules: conditions on several settings.

  Raises:
    UserError: a preset has an unknown key, or a base that does not exist; from get_config, a
      value has the wrong type.
  """
  for name, changed in overrides.items():
    base = changed.get("base")
    if base is not None and base not in overrides:
      raise UserError(
          f"preset {name} of {experiment}: base {base!r} does not exist; presets are "
          f"{', '.join(overrides)}"
      )
    for key in changed.keys() - {"base"}:
      _find(key, settings, f"preset {name} of {experiment}: ")

  def of_preset(preset: str, seen: tuple[str, ...] = ()) -> dict[str, Any]:
    if preset in seen:
      raise UserError(f"preset {preset} of {experiment}: its base leads back to itself")
    changed = dict(overrides[preset])
    base = changed.pop("base", None)
    return {**(of_preset(base, (*seen, preset)) if base else {}), **changed}

  def get_config(
      preset: str = next(iter(overrides)), changes: Mapping[str, Any] | None = None
  ) -> ml_collections.ConfigDict:
    if preset not in overrides:
      raise UserError(f"preset {preset!r} does not exist; presets are {', '.join(overrides)}")
    changes = dict(changes or {})
    seed = changes.pop("seed", 0)
    for key in changes:
      _find(key, ("seed", *settings), "")
    values = {**of_preset(preset), **changes}
    config = ml_collections.ConfigDict({"experiment": experiment, "preset": preset, "seed": seed})
    for key, setting in settings.items():
      if not _is_used(setting, config):
        if key in changes:
          raise UserError(_unused(key, setting, config))
        continue
      _set(config, key, setting, values.get(key, setting.default))
    return config.lock()

  get_config.rules = tuple(rules)
  return get_config


def _find(key: str, keys: Collection[str], where: str) -> None:
  """Raises UserError, with the nearest key, unless `key` is one of `keys`."""
  if key in keys:
    return
  names = [*keys, *(name.rpartition(".")[2] for name in keys)]
  near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
  full = [name for name in keys if near and (name == near[0] or name.endswith(f".{near[0]}"))]
  hint = f"did you mean {full[0]}?" if full else f"keys are {', '.join(keys)}"
  raise UserError(f"{where}{key} is not a key of this config; {hint}")


def _is_used(setting: Setting, config: ml_collections.ConfigDict) -> bool:
  return setting.when is None or get(config, setting.when[0]) in setting.when[1]


def _unused(key: str, setting: Setting, config: ml_collections.ConfigDict) -> str:
  selector, choices = setting.when
  return (
      f"config.{key} is not used with {selector}={get(config, selector)}; it belongs to "
      f"{' and '.join(choices)}"
  )


def _set(config: ml_collections.ConfigDict, key: str, setting: Setting, value: Any) -> None:
  *sections, name = key.split(".")
  for part in sections:
    if part not in config:
      config[part] = ml_collections.ConfigDict()
    config = config[part]
  value = settings_lib.cast(setting, value)
  if not settings_lib.has_type(setting, value):
    raise UserError(_invalid(key, value, setting))
  if setting.optional:  # A placeholder keeps the type of a value that is None.
    config[name] = config_dict.placeholder(setting.kind)
  config[name] = value


def get(config: ml_collections.ConfigDict, key: str) -> Any:
  """config["model.d_hidden"]."""
  for part in key.split("."):
    config = config[part]
  return config


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """{"a": {"b": 1}} as {"a.b": 1}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, (Mapping, ml_collections.ConfigDict)):
      flat.update(flatten(value, f"{prefix}{key}."))
    else:
      flat[prefix + key] = list(value) if isinstance(value, tuple) else value
  return flat


def module_of(config: ml_collections.ConfigDict, part: str) -> ModuleType:
  """The module "config" or "experiment" of the package that the config names.

  A config can come with a stranger's run. So the package must be one of dlx's own experiments, or
  imported already.

  Raises:
    UserError: it is neither, or it cannot be imported.
  """
  name = config.get("experiment")
  if not isinstance(name, str) or not all(map(str.isidentifier, name.split("."))):
    raise UserError(f"config.experiment is {name!r}; expected a package, such as experiments.vae")
  if f"{name}.config" not in sys.modules and not _is_own(name):
    raise UserError(
        f"the experiment {name} is not one of dlx's own. If you trust its code, name it with "
        f"--experiments={name} (in Python: import {name}.config)"
    )
  try:
    return importlib.import_module(f"{name}.{part}")
  except ModuleNotFoundError as e:
    raise UserError(f"the experiment's module {name}.{part} cannot be imported: {e}") from None


def _is_own(name: str) -> bool:
  """Whether importing the package means importing it from the folder beside dlx."""
  own = pathlib.Path(__file__).resolve().parents[1] / "experiments"
  top, *inner = name.split(".")
  found = sys.modules.get(top) or importlib.machinery.PathFinder.find_spec(top)
  if top != own.name or found is None:
    return False
  spec = getattr(found, "__spec__", found)
  first = next(iter(spec.submodule_search_locations or ()), "")
  return pathlib.Path(first).resolve() == own and own.joinpath(*inner, "config.py").is_file()


def completed(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
  """A saved config, with the settings that its experiment has gained since, without those it lost.

  So a run stays readable when its experiment gets a new setting, whose default has to be what
  the experiment did before, or gives one up, which config.py then names in RETIRED.
  """
  result, module = ml_collections.ConfigDict(config.to_dict()), module_of(config, "config")
  for key in getattr(module, "RETIRED", ()):
    section, _, name = key.rpartition(".")
    if key in flatten(result):
      del (get(result, section) if section else result)[name]
  for key, setting in module.SETTINGS.items():
    values = flatten(result)
    is_used = setting.when is None or values.get(setting.when[0]) in setting.when[1]
    section = key.partition(".")[0]  # A value in its place is an error, which `check` reports.
    if key not in values and section not in values and is_used:
      _set(result, key, setting, setting.default)
  return result


def check(config: ml_collections.ConfigDict) -> None:
  """Raises UserError for the first value of a config that is not valid.

  Programs and Python callers go through this check before anything is written.
  """
  module = module_of(config, "config")
  seed = config.get("seed")
  if type(seed) is not int or not 0 <= seed < 2**32:  # jax.random.key keeps 32 bits.
    raise UserError(f"config.seed is {seed!r}; expected 0 <= seed < 2**32")
  values = flatten(config)
  for key, setting in module.SETTINGS.items():
    if setting.when is not None and values.get(setting.when[0]) not in setting.when[1]:
      if key in values:
        raise UserError(_unused(key, setting, config))
      continue
    if key not in values:
      raise UserError(f"config.{key} is missing; expected {setting.hint}")
    _check_value(key, values[key], setting)
  for key in values.keys() - {"experiment", "preset", "seed"}:
    _find(key, module.SETTINGS, "config.")
  for rule in module.get_config.rules:
    if not rule.is_valid(config):
      raise UserError(f"config: {rule.message}")


def _check_value(key: str, value: Any, setting: Setting) -> None:
  if value is None and setting.optional:
    return
  if value == settings_lib.REQUIRED == setting.wrong:
    raise UserError(f"config.{key} is missing; give it {setting.hint}")
  if not settings_lib.has_type(setting, value) or not setting.is_valid(value):
    raise UserError(_invalid(key, value, setting))


def _invalid(key: str, value: Any, setting: Setting) -> str:
  hint = setting.hint + (" or None" if setting.optional else "")
  return f"config.{key} is {value!r}; expected {hint}"


def in_steps(
    config: ml_collections.ConfigDict, steps_per_epoch: int | None
) -> ml_collections.ConfigDict:
  """The config with every length as an integer number of steps.

  Args:
    config: checked.
    steps_per_epoch: None when the data have no epochs.

  Raises:
    UserError: a length is in epochs, and the data have none; or the warm-up is not shorter
      than the run.
  """
  result = config.copy_and_resolve_references()
  with result.unlocked(), result.ignore_type():
    for key, setting in module_of(config, "config").SETTINGS.items():
      if not settings_lib.is_length(setting) or not _is_used(setting, config):
        continue
      *sections, name = key.split(".")
      try:
        count = settings_lib.steps(get(config, key), steps_per_epoch)
      except ValueError as e:
        raise UserError(f"config.{key}: {e}") from None
      section = get(result, ".".join(sections)) if sections else result
      section[name] = count
  if "optimizer" in result and result.training.total_steps:
    warmup, total = result.optimizer.get("warmup_steps", 0), result.training.total_steps
    if warmup >= total:
      raise UserError(
          f"config.optimizer.warmup_steps is {warmup}; expected less than "
          f"config.training.total_steps, {total}"
      )
  return result
