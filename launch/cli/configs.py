"""Configs from the command line: --config=FILE:PRESET and --config.KEY=VALUE.

The flags have the form of ml_collections.config_flags. They are parsed here because a config's
keys depend on its values (an optimizer's settings exist only where it is chosen), and so that
every mistake is answered by one line.
"""

from collections.abc import Sequence
import difflib
import importlib
import importlib.util
import pathlib
import sys
from types import ModuleType
from typing import Any

import ml_collections

from dlx.errors import UserError
from dlx.settings import Setting, count

ROOT = pathlib.Path(__file__).resolve().parents[2]
FORMS = ("--config", "-config")


def experiments() -> dict[str, list[str]]:
  """Every experiment's config file, relative to the root, with its presets."""
  found = sorted(ROOT.glob("experiments/*/config.py"))
  return {str(path.relative_to(ROOT)): list(_module(path).PRESETS) for path in found}


def parse(argv: Sequence[str]) -> tuple[ml_collections.ConfigDict, list[str]]:
  """(the config, the arguments that are not about it).

  Args:
    argv: the arguments of a program.

  Raises:
    UserError: --config is missing, the file or the preset does not exist, a key is unknown or
      given twice, or its value has the wrong type.
  """
  file, values, rest = None, {}, []
  for argument in with_equals(argv):
    name, _, value = argument.partition("=")
    if name in FORMS:
      if file is not None:
        raise UserError(f"--config is given twice: {file} and {value}")
      file = value
    elif name.startswith(tuple(f"{form}." for form in FORMS)):
      key = name.lstrip("-").removeprefix("config.")
      if key in values:
        raise UserError(f"--config.{key} is given twice: {values[key]} and {value}")
      values[key] = value
    else:
      rest.append(argument)
  if file is None:
    raise UserError(
        "--config is missing; for example --config=experiments/gru_lm/config.py:quickstart "
        "(--list shows all)"
    )
  path, _, preset = file.partition(":")
  module = _module(_find(path))
  table = {"seed": count(0, low=0), **module.SETTINGS}
  changes = {key: _typed(key, text, table[key]) if key in table else text
             for key, text in values.items()}  # fmt: skip
  return module.get_config(*([preset] if preset else []), changes=changes), rest


def trust(names: Sequence[str]) -> None:
  """Imports experiments; dlx.presets.module_of refuses others than those and dlx's own."""
  for name in names:
    try:
      importlib.import_module(f"{name}.config")
    except (ImportError, ValueError) as e:
      raise UserError(f"--experiments={name}: {name}.config cannot be imported: {e}") from None


def check_flags(argv: Sequence[str]) -> None:
  """Raises UserError as `parse` does, for programs that pass the flags on."""
  parse(argv)


def with_equals(argv: Sequence[str]) -> list[str]:
  """["--config", "FILE"] as ["--config=FILE"], which absl treats as equal."""
  joined = []
  for argument in argv:
    flag = joined[-1] if joined else ""
    if flag.startswith(FORMS) and "=" not in flag:
      joined[-1] = f"{flag}={argument}"
    else:
      joined.append(argument)
  return joined


def _find(path: str) -> pathlib.Path:
  for candidate in (pathlib.Path(path), ROOT / path):
    if candidate.is_file():
      return candidate.resolve()
  near = difflib.get_close_matches(path, experiments(), n=1, cutoff=0.3)
  hint = f"did you mean {near[0]}?" if near else "--list shows the experiments"
  raise UserError(f"the config file {path!r} does not exist; {hint}")


def _module(path: pathlib.Path) -> ModuleType:
  """The config module, imported by its package's name when its folder can be imported."""
  if path.suffix != ".py":
    raise UserError(f"the config file {path} is not a Python file")
  module = _imported(path)
  if module is None:
    spec = importlib.util.spec_from_file_location(f"config_of_{path.parent.name}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
  for name in ("SETTINGS", "PRESETS", "get_config"):
    if not hasattr(module, name):
      raise UserError(f"{path} has no {name}; see experiments/gru_lm/config.py for an example")
  return module


def _imported(path: pathlib.Path) -> ModuleType | None:
  for root in map(pathlib.Path, [pathlib.Path.cwd(), ROOT, *filter(None, sys.path)]):
    if not path.is_relative_to(root.resolve()):
      continue
    parts = path.relative_to(root.resolve()).with_suffix("").parts
    if len(parts) < 2 or not all(part.isidentifier() for part in parts):
      continue
    try:
      module = importlib.import_module(".".join(parts))
    except ModuleNotFoundError:
      continue
    if pathlib.Path(module.__file__ or "").resolve() == path:
      return module
  return None


def _typed(key: str, text: str, setting: Setting) -> Any:
  if text == "None" and setting.optional:
    return None
  kind = setting.kind
  if kind is bool:
    if text.lower() in ("true", "1"):
      return True
    if text.lower() in ("false", "0"):
      return False
  else:
    try:
      return kind(text)
    except ValueError:
      pass
  article = "an" if kind is int else "a"
  or_none = " or None" if setting.optional else ""
  raise UserError(
      f"--config.{key}={text} is not {article} {kind.__name__}{or_none}; expected {setting.hint}"
  )
