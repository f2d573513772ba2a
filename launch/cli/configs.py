"""Configs from the command line: --config=FILE:PRESET and --config.KEY=VALUE.

ml_collections does the parsing; this module looks at the flags first, because its own
answer to a misspelled key is a traceback.
"""

from collections.abc import Sequence
import difflib
import importlib.util
import pathlib
from types import ModuleType

import ml_collections

from dlx.errors import UserError
from dlx.runs.workdir import flatten

ROOT = pathlib.Path(__file__).resolve().parents[2]


def experiments() -> dict[str, list[str]]:
  """Every experiment's config file, relative to the root, with its presets."""
  found = sorted(ROOT.glob("experiments/*/config.py"))
  return {str(path.relative_to(ROOT)): list(_module(path).PRESETS) for path in found}


def check_flags(argv: Sequence[str]) -> list[str]:
  """Checks all --config flags; returns argv with the config file's path made absolute.

  Raises:
    UserError: the file or the preset does not exist, or a key is unknown or its value
      of the wrong type; the message names the nearest right one.
  """
  argv, config = _with_equals(argv), None
  for i, argument in enumerate(argv):
    if argument.startswith(("--config=", "-config=")):
      path, _, preset = argument.partition("=")[2].partition(":")
      path = _find(path)
      module = _module(path)
      config = module.get_config(preset) if preset else module.get_config()
      argv[i] = f"--config={path}" + (f":{preset}" if preset else "")
  if config is None:
    raise UserError(
        "--config is missing; for example --config=experiments/gru_lm/config.py:quickstart "
        "(--list shows all)"
    )
  known = flatten(config.to_dict())
  for argument in argv:
    if argument.startswith(("--config.", "-config.")):
      key, _, value = argument.lstrip("-").removeprefix("config.").partition("=")
      _check_value(key, value, known, config)
  return argv


def _with_equals(argv: Sequence[str]) -> list[str]:
  """["--config", "FILE"] as ["--config=FILE"], which absl takes for the same."""
  joined = []
  for argument in argv:
    flag = joined[-1] if joined else ""
    if flag.startswith(("--config", "-config")) and "=" not in flag:
      joined[-1] = f"{flag}={argument}"
    else:
      joined.append(argument)
  return joined


def _find(path: str) -> pathlib.Path:
  for candidate in (pathlib.Path(path), ROOT / path):
    if candidate.is_file():
      return candidate.resolve()
  near = difflib.get_close_matches(path, experiments(), n=1, cutoff=0.3)
  hint = f"did you mean {near[0]}?" if near else "--list shows what there is"
  raise UserError(f"the config file {path!r} does not exist; {hint}")


def _module(path: pathlib.Path) -> ModuleType:
  spec = importlib.util.spec_from_file_location(f"config_of_{path.parent.name}", path)
  if spec is None:
    raise UserError(f"the config file {path} is not a Python file")
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, "get_config"):
    raise UserError(f"{path} has no get_config(preset)")
  return module


def _check_value(
    key: str, value: str, known: dict, config: ml_collections.ConfigDict
) -> None:
  if key not in known:
    names = list(known) + [name.rpartition(".")[2] for name in known]
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.5)
    whole = [name for name in known if near and (name == near[0] or name.endswith(f".{near[0]}"))]
    hint = f"did you mean --config.{whole[0]}?" if whole else f"keys are {', '.join(known)}"
    raise UserError(f"--config.{key} is not a key of this config; {hint}")
  *folders, name = key.split(".")
  for folder in folders:
    config = config[folder]
  kind = config.get_type(name)
  try:
    if kind is bool and value.lower() not in ("true", "false", "1", "0"):
      raise ValueError
    kind(value)
  except ValueError:
    raise UserError(
        f"--config.{key}={value} is not {'an' if kind is int else 'a'} {kind.__name__} "
        f"(its value now: {known[key]})"
    ) from None
