"""The keys of a config for --help: value, range, and the comment of the row in its table."""

import ast
from collections.abc import Iterator, Sequence
import importlib
import inspect
import io
import textwrap
import tokenize
from types import ModuleType

from dlx import presets, settings
from launch.cli import configs

Comments = dict[str, str]  # By key: "data.text".


def of(argv: Sequence[str]) -> str:
  """The text for the experiment and preset that --config names; "" when there is no --config.

  Args:
    argv: the arguments of a program.

  Raises:
    UserError: as from `configs.parse`.
  """
  named = [a for a in configs.with_equals(argv) if a.startswith(configs.FORMS)]
  if not named:
    return ""
  config, _ = configs.parse(["help", *named])
  module = presets.module_of(config, "config")
  values, comments = presets.flatten(config), _comments(module)
  lines = [f"keys of {module.__name__}, preset {config.preset}:"]
  for key, setting in {"seed": settings.count(0, low=0), **module.SETTINGS}.items():
    lines.append(_line(key, setting, values, comments.get(key, "")))
  return "\n".join(lines) + "\n"


def _line(key: str, setting: settings.Setting, values: dict, comment: str) -> str:
  hint = setting.hint + (" or None" if setting.optional else "")
  if key in values:
    name = f"--config.{key}={values[key]}"
    if values[key] == settings.REQUIRED == setting.wrong:
      name, hint = f"--config.{key}=...", f"required: {hint}"
  else:
    selector, choices = setting.when
    name = f"--config.{key}={setting.default}"
    hint = f"with {selector}={', '.join(choices)} only: {hint}"
  text = f"{name}: {hint}. {comment}".rstrip()
  return textwrap.fill(
      text, 96, initial_indent="  ", subsequent_indent="    ", break_on_hyphens=False,
      break_long_words=False,
  )  # fmt: skip


def _comments(module: ModuleType) -> Comments:
  """The comments of the table's rows, also of those from other modules."""
  found = _of_functions(settings)
  for one in (*_imported(module), module):
    source = inspect.getsource(one)
    found |= _of_rows(ast.parse(source), _by_line(source))
  return found


def _imported(module: ModuleType) -> Iterator[ModuleType]:
  """The modules "NAME.config" and "NAME_settings" from which a config module imports rows."""
  for node in ast.walk(ast.parse(inspect.getsource(module))):
    if isinstance(node, ast.ImportFrom):
      for name in (node.module or "", *(f"{node.module}.{alias.name}" for alias in node.names)):
        if name.endswith((".config", "_settings")):
          yield importlib.import_module(name)


def _by_line(source: str) -> dict[int, str]:
  """{line number: comment}."""
  tokens = tokenize.generate_tokens(io.StringIO(source).readline)
  return {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}


def _of_rows(tree: ast.AST, by_line: dict[int, str], prefix: str = "") -> Comments:
  """The comments on the lines of a dict's items; the first item with a key counts."""
  found = {}
  for node in ast.walk(tree):
    for key, value in zip(node.keys, node.values) if isinstance(node, ast.Dict) else ():
      if isinstance(key, ast.Constant) and isinstance(key.value, str):
        lines = range(key.lineno, value.end_lineno + 1)
        comment = " ".join(by_line[line] for line in lines if line in by_line)
        if comment and not comment.startswith("fmt:"):
          found.setdefault(prefix + key.value, comment)
  return found


def _of_functions(module: ModuleType) -> Comments:
  """The comments in functions that end in `_section(NAME, ...)`, such as settings.training."""
  source, found = inspect.getsource(module), {}
  by_line = _by_line(source)
  for function in ast.parse(source).body:
    for node in ast.walk(function):
      if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "_section":
        found |= _of_rows(function, by_line, f"{node.args[0].value}.")
  return found
