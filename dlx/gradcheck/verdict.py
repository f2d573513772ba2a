"""One function and its hand-derived rule, compared at given arguments; see `compare`."""

from collections.abc import Callable, Iterator
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck import check
from dlx.gradcheck.case import Case

# The largest errors of a right rule, as dlx.gradcheck.check defines them.
VJP_TOLERANCE, DIFFERENCE_TOLERANCE = 1e-9, 1e-5


def compare(function: Callable[..., Any], rule: Callable[..., Any], *args, **options) -> bool:
  """Prints a line for each argument, and returns whether the rule is right.

  Args, Returns, Raises: as for `dlx.gradcheck.compare`.
  """
  name = getattr(function, "__name__", "function")
  with jax.enable_x64(True):
    inputs, options = check.cast((tuple(map(_floating, args)), options), jnp.float64)
    _check_floating(function, inputs)
    case = Case(name, function, rule, lambda rng: (inputs, options), sizes={})
    rng = np.random.default_rng(0)
    d_out = check.cotangents(case, inputs, options, rng)
    expected = jax.jit(lambda *a: check.by_jax(case, *a, options))(inputs, d_out)
    slopes = check.by_differences(case, inputs, d_out, options)
    problems = []
    for how, run in (("", lambda f: f), (" (jitted)", jax.jit)):
      found = run(lambda *a: rule(*a[0], d_out=a[1], **options))(inputs, d_out)
      problems += _problems(function, found, expected, slopes, d_out, how)
  print(f"{name}: the rule is {'WRONG' if problems else 'right'}")
  for line in dict.fromkeys(problems):
    print(f"  {line}")
  return not problems


def _floating(x):
  """Python's numbers as arrays, so that they are differentiated."""
  return np.float64(x) if isinstance(x, (int, float)) and not isinstance(x, bool) else x


def _check_floating(function: Callable, inputs: tuple) -> None:
  for name, tree in zip(_names(function, len(inputs)), inputs):
    for leaf in jax.tree.leaves(tree):
      if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
        raise ValueError(
            f"{name}: expected floating-point values, got {jnp.result_type(leaf)}; pass what is "
            f"not differentiated by keyword"
        )


def _names(function: Callable, count: int) -> list[str]:
  """The names of the positional arguments, args[i] for those without one."""
  kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
  parameters = inspect.signature(function).parameters.values()
  names = [p.name for p in parameters if p.kind in kinds][:count]
  return [*names, *(f"args[{i}]" for i in range(len(names), count))]


def _problems(function, found, expected, slopes, d_out, how: str) -> Iterator[str]:
  """A line for each argument whose cotangent is wrong, or whose reference is doubtful."""
  found = (found,) if len(expected) == 1 and not isinstance(found, tuple) else found
  if not isinstance(found, (tuple, list)) or len(found) != len(expected):
    count = len(found) if isinstance(found, (tuple, list)) else 1
    yield f"it returns {count} cotangents{how}, expected {len(expected)}, one per argument"
    return
  for name, actual, by_jax, by_slope in zip(
      _names(function, len(expected)), found, expected, slopes
  ):
    if not check.same_types(actual, by_jax):
      yield f"{name}: the cotangent is {_types(actual)}{how}, expected {_types(by_jax)}"
    elif (error := check.error(actual, by_jax, d_out)) > VJP_TOLERANCE:
      yield f"{name}: differs from jax.vjp by {error:.2g}{how}; {_largest(actual, by_jax)}"
    elif (error := check.error(actual, by_slope, d_out)) > DIFFERENCE_TOLERANCE:
      yield (
          f"{name}: rule and jax.vjp agree, but differ from central differences by {error:.2g}"
          f"{how}; {_largest(actual, by_slope)}. Is the function differentiable here?"
      )


def _types(tree) -> str:
  shown = jax.tree.map(lambda x: f"{jnp.result_type(x)}{list(jnp.shape(x))}", tree)
  return str(shown).replace("'", "")


def _largest(actual, expected) -> str:
  """Where two trees of one structure differ most, with both values."""
  worst, text = -1.0, ""
  for (path, a), e in zip(jax.tree.leaves_with_path(actual), jax.tree.leaves(expected)):
    a, e = np.asarray(a), np.asarray(e)
    if not a.size:
      continue
    with np.errstate(invalid="ignore"):
      difference = np.nan_to_num(np.abs(a - e), nan=np.inf)
    index = np.unravel_index(difference.argmax(), difference.shape)
    if difference[index] > worst:
      worst = difference[index]
      place = jax.tree_util.keystr(path) + (f"[{', '.join(map(str, index))}]" if index else "")
      at = f"at {place} " if place else ""
      text = f"{at}the rule gives {a[index]:.6g}, the reference {e[index]:.6g}"
  return text
