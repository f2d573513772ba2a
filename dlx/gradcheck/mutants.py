"""Mutation tests of the checks: rules with a mistake, which the checks must find.

The mistakes are made in the syntax tree of a rule and of the functions of its module
that it calls (see `operators` for the list), so a rule can be reformatted freely and a
new rule needs nothing but its case. A mutant that computes the same as the rule is
called equivalent; a case lists those that its inputs cannot tell apart, with the reason.
"""

import ast
from collections.abc import Callable, Iterable
import functools
import inspect
import textwrap
import types
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck import check, operators
from dlx.gradcheck.case import Case, Mutant

FOUND = 1e-3  # Far above rounding: a mistake changes the first digits.
DRAWS = 16


class _Source(NamedTuple):
  """The functions of a rule's module that it calls, itself first.

  Attributes:
    namespace: the globals of the module.
    trees: the syntax tree of each function, by name.
    modules: the names of other modules of the same project.
  """

  namespace: dict
  trees: dict[str, ast.FunctionDef]
  modules: frozenset[str]


def _read(rule: Callable) -> _Source:
  function = inspect.unwrap(rule)
  if not isinstance(function, types.FunctionType) or function.__code__.co_freevars:
    raise ValueError(f"rule: expected a function of a module, not a closure, got {rule!r}")
  namespace, trees = function.__globals__, {}
  waiting = [function]
  while waiting:
    one = waiting.pop(0)
    if one.__name__ in trees:
      continue
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
    trees[one.__name__] = tree
    names = sorted({node.id for node in operators.walk(tree) if isinstance(node, ast.Name)})
    called = (inspect.unwrap(namespace[name]) for name in names if callable(namespace.get(name)))
    waiting += [
        f for f in called
        if isinstance(f, types.FunctionType) and f.__module__ == function.__module__
    ]  # fmt: skip
  project = function.__module__.split(".")[0]
  modules = frozenset(
      name for name, value in namespace.items()
      if isinstance(value, types.ModuleType) and value.__name__.split(".")[0] == project
  )  # fmt: skip
  return _Source(namespace, trees, modules)


class _Replace(ast.NodeTransformer):
  """Puts one node in the place of another, in the tree itself."""

  def __init__(self, before: ast.AST, after: ast.AST):
    self._before, self._after = before, after

  def visit(self, node):
    return self._after if node is self._before else self.generic_visit(node)


def _build(source: _Source, rule: Callable, name: str, mutation: operators.Mutation) -> Mutant:
  """The rule among fresh copies of all functions, one of which has the mutation."""
  what = f"{name}: {mutation}"
  tree = source.trees[name]
  _Replace(mutation.before, mutation.after).visit(tree)
  try:
    module = ast.Module(list(source.trees.values()), [])
    code = compile(ast.fix_missing_locations(module), f"<{what}>", "exec")
  finally:
    _Replace(mutation.after, mutation.before).visit(tree)
  namespace = dict(source.namespace)
  exec(code, namespace)
  return Mutant(what, namespace[inspect.unwrap(rule).__name__])


def generate(case: Case, count: int | None = None) -> list[Mutant]:
  """The mutants of a case's rule, without those listed as equivalent, with those by hand.

  Args:
    case: the rule, `case.equivalent` and `case.mutants`.
    count: how many of the generated ones, spread evenly over operators and lines; all
      when None.
  """
  source = _read(case.rule)
  groups = {}
  for name, tree in source.trees.items():
    for mutation in operators.mutations(tree, source.modules):
      if equivalent(case, f"{name}: {mutation}") is None:
        groups.setdefault(mutation.operator, []).append((name, mutation))
  chosen = _spread(list(groups.values()), count)
  return [*case.mutants, *(_build(source, case.rule, *pair) for pair in chosen)]


def _spread(groups: list[list], count: int | None) -> list:
  """`count` elements, as many of each group as of the others, spread evenly over a group."""
  total = sum(map(len, groups))
  left, taken = total if count is None else min(count, total), [0] * len(groups)
  while left:
    for i, group in enumerate(groups):
      if left and taken[i] < len(group):
        taken[i] += 1
        left -= 1
  return [group[j * len(group) // n] for group, n in zip(groups, taken) for j in range(n)]


def equivalent(case: Case, what: str) -> str | None:
  """The entry of `case.equivalent` that a mutant's description contains, if any."""
  return next((part for part in case.equivalent if part in what), None)


@functools.cache
def _draws(case: Case) -> list:
  """Inputs of several sizes and their cotangents by jax, filled by `_draw`."""
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


def error(case: Case, mutant: Mutant) -> float:
  """The error of a mutant: the first above FOUND in some draws, inf where it raises.

  Needs float64 (`jax.enable_x64`).

  Raises:
    NameError: the mutant names something that does not exist.
  """
  worst = 0.0
  for i in range(DRAWS):
    inputs, d_out, options, expected = _draw(case, i)
    try:
      with jax.disable_jit():  # Loops run in Python: no mutant is compiled.
        actual = check.by_rule(case, inputs, d_out, options, mutant.rule)
      worst = max(worst, check.error(actual, expected, d_out))
    except NameError:
      raise
    except Exception:  # Shapes that do not fit, and whatever else jax reports.
      return np.inf
    if worst > FOUND:
      break
  return worst


def survivors(case: Case, mutants: Iterable[Mutant] | None = None) -> list[str]:
  """Descriptions of the mutants (all, if not given) that the checks do not find."""
  mutants = generate(case) if mutants is None else mutants
  return [mutant.what for mutant in mutants if error(case, mutant) <= FOUND]
