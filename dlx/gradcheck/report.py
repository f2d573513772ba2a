"""The output of `python -m dlx.gradcheck`: a table of all rules, or one rule explained."""

from collections.abc import Iterable
import difflib
import inspect
import sys

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from dlx.errors import UserError
from dlx.gradcheck import check, measure, mutants
from dlx.gradcheck.case import Case
from dlx.reports.tables import Table

COLUMNS = (
    "function",
    "formula",
    "error, jax.vjp",
    "error, differences",
    "time / jax's",
    "memory / jax's",
)
_EXAMPLES = 3  # Draws per error in the table: the small example and two of other sizes.
_MUTANTS = 12


def find(cases: list[Case], name: str) -> list[Case]:
  """The cases of a family, or the case of a function.

  Raises:
    UserError: no case has this name.
  """
  found = [case for case in cases if name in (case.name, case.family, case.name.split(".")[1])]
  if found:
    return found
  names = sorted({case.family for case in cases} | {case.name for case in cases})
  near = difflib.get_close_matches(name, names, n=1)
  hint = f"; did you mean {near[0]}?" if near else "."
  families = ", ".join(sorted({case.family for case in cases}))
  raise UserError(f"unknown rule {name!r}{hint} Families: {families}")


def _sizes(case: Case, i: int) -> dict:
  """The sizes of example i: the small example is the first, the others are drawn."""
  rng = np.random.default_rng(i)
  return {name: c[rng.integers(len(c))] for name, c in case.sizes.items()} if i else {}


def row(case: Case) -> tuple[str, ...]:
  """The cells of one rule's row."""
  with jax.enable_x64(True):
    errors = [
        max(of(case, np.random.default_rng(i), **_sizes(case, i)) for i in range(_EXAMPLES))
        for of in (check.vjp_error, check.difference_error)
    ]
  cost = measure.costs(case)
  time = cost["rule"].seconds / cost["jax"].seconds
  memory = "-"
  if cost["jax"].temporaries:
    memory = f"{cost['rule'].temporaries / cost['jax'].temporaries:.2f}"
  return (case.name, case.formula, *(f"{e:.0e}" for e in errors), f"{time:.2f}", memory)


def table(cases: list[Case], *, markdown: bool) -> None:
  """Prints a row for each case, and the progress to stderr."""
  rows = []
  progress = Console(stderr=True)
  with progress.status("") as status:
    for i, case in enumerate(cases):
      status.update(f"{case.name} ({i + 1} of {len(cases)})")
      rows.append(row(case))
  if markdown:
    print("\n".join(_markdown(rows)))
    return
  shown = Table(*COLUMNS)
  for cells in rows:
    shown.add_row(*cells)
  Console().print(shown)
  print(
      "Errors in float64, relative to the largest cotangent. Time and memory in float32, relative "
      "to\njax.vjp of the reference function; both include the forward pass."
  )


def _markdown(rows: Iterable[tuple[str, ...]]) -> Iterable[str]:
  yield f"| {' | '.join(COLUMNS)} |"
  yield f"|{' --- |' * len(COLUMNS)}"
  for cells in rows:
    yield f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def explain(case: Case) -> None:
  """Prints one rule: derivation, source, a small numeric example, and the checks."""
  module = sys.modules[case.rule.__module__]
  print(f"{case.name}: {case.formula}\n\n{inspect.getdoc(module) or ''}\n")
  print(inspect.getsource(case.rule))
  with jax.enable_x64(True), np.printoptions(precision=4, suppress=True, threshold=60):
    rng = np.random.default_rng(0)
    inputs, options = check.cast(case.example(rng), jnp.float64)
    d_out = check.cotangents(case, inputs, options, rng)
    actual = check.by_rule(case, inputs, d_out, options)
    expected = check.by_jax(case, inputs, d_out, options)
    names = list(inspect.signature(case.rule).parameters)
    print("example:")
    _show(dict(zip(names, inputs)) | options | {"d_out": d_out})
    print("cotangents of the inputs, by the rule:")
    _show({f"d_{name}": value for name, value in zip(names, actual)})
    print(f"largest difference from jax.vjp: {check.error(actual, expected, d_out):.1e}")
    slope = check.difference_error(case, np.random.default_rng(0))
    print(f"largest difference from central differences: {slope:.1e}")
    tried = mutants.generate(case, _MUTANTS)
    survivors = mutants.survivors(case, tried)
    print(f"mutants found by the checks: {len(tried) - len(survivors)} of {len(tried)}")
    for mutant in tried:
      print(f"  {'NOT FOUND' if mutant.what in survivors else 'found'}: {mutant.what}")


def _named(value) -> str:
  """A function's name, or the value as Python writes it."""
  return getattr(value, "__name__", repr(value))


def _show(values: dict) -> None:
  for path, leaf in jax.tree_util.tree_leaves_with_path(values, is_leaf=lambda x: x is None):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    value = np.array2string(np.asarray(leaf)) if isinstance(leaf, jax.Array) else _named(leaf)
    print("  " + f"{name} = {value}".replace("\n", "\n  " + " " * (len(name) + 3)))
