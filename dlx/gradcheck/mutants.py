"""Mistakes planted in the source of a rule, to see that the checks find them."""

import ast
from collections.abc import Callable, Iterator
import copy
import functools
import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck import check
from dlx.gradcheck.case import Case, Mistake

FOUND = 1e-3  # Not a matter of tolerance: a planted mistake is visible with the naked eye.
DRAWS = 16


def plant(rule: Callable, mistake: Mistake) -> Callable:
  """The rule as it would be with the mistake in its module.

  Raises:
    ValueError: `mistake.right` does not occur exactly once in the function.
  """
  module = sys.modules[rule.__module__]
  function = inspect.getsource(getattr(module, mistake.function or rule.__name__))
  count = function.count(mistake.right)
  if count != 1:
    raise ValueError(f"{mistake.what}: expected {mistake.right!r} once, found it {count} times")
  source = inspect.getsource(module)
  wrong = function.replace(mistake.right, mistake.wrong)
  return _run(source.replace(function, wrong), rule, mistake.what)


def _run(module: str | ast.Module, rule: Callable, what: str) -> Callable:
  """The rule of the module with changed code."""
  namespace = {"__name__": rule.__module__}
  exec(compile(module, f"<{what}>", "exec"), namespace)
  return namespace[rule.__name__]


def dropped_terms(rule: Callable) -> Iterator[tuple[str, Callable]]:
  """Every rule that one operand of one sum, difference, product or quotient is missing from.

  Looks at the rule and at the functions of its module that it reaches. Gives what was
  dropped, in words, and the rule without it; signs that are turned are among them.
  """
  module = sys.modules[rule.__module__]
  tree = ast.parse(inspect.getsource(module))
  functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
  for name in _reached(functions, rule.__name__):
    for i, node in enumerate(ast.walk(functions[name])):
      for what, operand in _operands(node):
        changed = copy.deepcopy(tree)
        function = next(f for f in changed.body if getattr(f, "name", None) == name)
        _replace(function, i, operand)
        label = f"{name}: {what} in {ast.unparse(node)}"
        yield label, _run(ast.fix_missing_locations(changed), rule, label)


def _reached(functions: dict[str, ast.FunctionDef], name: str) -> list[str]:
  """The function and all that it names, directly or through another."""
  reached = [name]
  for one in reached:
    names = {node.id for node in ast.walk(functions[one]) if isinstance(node, ast.Name)}
    reached += sorted(names & functions.keys() - set(reached))
  return reached


def _operands(node: ast.AST) -> Iterator[tuple[str, str]]:
  """What can be dropped at a node: in words, and the attribute that stays."""
  if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
    yield f"no {ast.unparse(node.right)}", "left"
    if not isinstance(node.op, ast.Div):
      yield f"no {ast.unparse(node.left)}", "right"
  elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    if isinstance(node.operand, ast.Constant) and isinstance(node.operand.value, int):
      return  # -1 is an axis, which is the last one by another number, too.
    yield "no sign", "operand"


def _replace(function: ast.FunctionDef, i: int, attribute: str) -> None:
  """Puts one operand of the i-th node, in the order of ast.walk, in the node's place."""
  target = list(ast.walk(function))[i]
  stays = getattr(target, attribute)
  for parent in ast.walk(function):
    for field, value in ast.iter_fields(parent):
      if value is target:
        setattr(parent, field, stays)
      elif isinstance(value, list) and target in value:
        value[value.index(target)] = stays


@functools.cache
def _draws(case: Case) -> list:
  """Inputs of several sizes with what jax makes of them, drawn as they are asked for."""
  return []


def _draw(case: Case, i: int) -> tuple:
  draws = _draws(case)
  while len(draws) <= i:
    rng = np.random.default_rng(len(draws))
    sizes = {
        name: choices[rng.integers(len(choices))] for name, choices in case.sizes.items()
    }
    inputs, options = check.cast(case.example(rng, **sizes if draws else {}), jnp.float64)
    d_out = check.cotangents(case, inputs, options, rng)
    expected = jax.jit(lambda *args, o=options: check.by_jax(case, *args, o))(inputs, d_out)
    draws.append((inputs, d_out, options, expected))
  return draws[i]


def error(case: Case, mistake: Mistake) -> float:
  """The error of the rule with the mistake: the first that is above FOUND in some draws."""
  return error_of(case, plant(case.rule, mistake))


def error_of(case: Case, rule: Callable) -> float:
  """The same for a rule that has been changed already."""
  worst = 0.0
  for i in range(DRAWS):
    inputs, d_out, options, expected = _draw(case, i)
    try:
      actual = check.by_rule(case, inputs, d_out, options, rule)
    except (TypeError, ValueError):  # Shapes that no longer fit: jax finds it.
      return np.inf
    worst = max(worst, check.error(actual, expected, d_out))
    if worst > FOUND:
      break
  return worst
