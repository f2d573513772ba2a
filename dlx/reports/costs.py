"""The cost of a function, counted in its traced program: multiplications and chains of them.

XLA's own analysis counts a loop's body once (jax issue 18672); here loops are followed step by
step. Nothing is computed but the numbers that loops count with.
"""

from collections.abc import Callable
import math
from typing import Any, NamedTuple

import jax
from jax.extend.core import Literal

from dlx.reports import jaxprs


class Cost(NamedTuple):
  """A function's cost.

  Attributes:
    multiplications: in matrix products and convolutions.
    chain: the largest number of these products of which each needs the result of the one before.
  """

  multiplications: int
  chain: int


class _Value(NamedTuple):
  chain: int = 0
  number: Any = None  # Of a scalar that depends on no array.


def cost(function: Callable, *arguments: Any) -> Cost:
  """The cost of function(*arguments).

  Args:
    function: of arrays, or of lists and dicts of arrays.
    *arguments: arrays or jax.ShapeDtypeStruct.

  Raises:
    ValueError: the function has a branch, or a loop whose length depends on an array.
  """
  closed = jax.make_jaxpr(function)(*arguments)
  total, results = _walk(closed, [_Value()] * len(closed.jaxpr.invars))
  return Cost(total, max((value.chain for value in results), default=0))


def _walk(jaxpr, arguments) -> tuple[int, list[_Value]]:
  """(multiplications, the results), given the values of the arguments."""
  jaxpr, total = getattr(jaxpr, "jaxpr", jaxpr), 0
  known = dict.fromkeys(jaxpr.constvars, _Value()) | dict(zip(jaxpr.invars, arguments))

  def value_of(v):
    return _Value(0, v.val) if isinstance(v, Literal) else known[v]

  for equation in jaxpr.eqns:
    before = [value_of(v) for v in equation.invars]
    name, chain = equation.primitive.name, max((v.chain for v in before), default=0)
    if name in ("scan", "while"):
      count, after = (_scan if name == "scan" else _while)(equation, before)
    elif name in ("dot_general", "conv_general_dilated"):
      count, after = _products(equation), [_Value(chain + 1)]
    elif name == "cond":
      raise ValueError("the cost of a branch depends on the data")
    elif (inner := jaxprs.called(equation)) is not None:
      count, after = _walk(inner, before)
    else:
      count, after = 0, [_Value(chain, number) for number in _numbers(equation, before)]
    total += count
    known.update(zip(equation.outvars, after))
  return total, [value_of(v) for v in jaxpr.outvars]


def _scan(equation, before):
  params = equation.params
  if "num_consts" in params:
    first, carries = params["num_consts"], params["num_carry"]
  else:  # jax 0.12: (constants, carry, inputs).
    first, carries = map(len, params["ft_in"].unpack()[:2])
  total, after = 0, [_Value()] * len(equation.outvars)
  state = before[first : first + carries]
  inputs = [_Value(v.chain) for v in before[first + carries :]]
  for _ in range(params["length"]):
    count, results = _walk(params["jaxpr"], [*before[:first], *state, *inputs])
    state, total = results[:carries], total + count
    after = [_Value(max(a.chain, b.chain)) for a, b in zip(after, results)]
  return total, [*state, *after[carries:]]


def _while(equation, before):
  test, body = (getattr(equation.params[name], "jaxpr", equation.params[name])
                for name in ("cond_jaxpr", "body_jaxpr"))  # fmt: skip
  # The arguments are the constants of the test, those of the body, and the state.
  first, second = (len(part.invars) - len(equation.outvars) for part in (test, body))
  of_test, of_body, state = before[:first], before[first : first + second], before[first + second :]
  total = 0
  while True:
    _, (again,) = _walk(test, [*of_test, *state])
    if again.number is None:
      raise ValueError("a loop's length depends on an array")
    if not again.number:
      return total, state
    count, state = _walk(body, [*of_body, *state])
    total += count


def _numbers(equation, before) -> list:
  """The results that are scalars, if all inputs are known scalars; None for others."""
  unknown = [None] * len(equation.outvars)
  if any(v.number is None for v in before) or any(v.aval.shape for v in equation.outvars):
    return unknown
  found = equation.primitive.bind(*(v.number for v in before), **equation.params)
  return found if equation.primitive.multiple_results else [found]


def _products(equation) -> int:
  """The multiplications of one matrix product or convolution."""
  left, right = (v.aval.shape for v in equation.invars)
  if equation.primitive.name == "dot_general":
    contracted = equation.params["dimension_numbers"][0][0]
    each = math.prod(left[i] for i in contracted)
  else:  # A convolution: every output is a sum over a window of all its channels.
    outputs = right[equation.params["dimension_numbers"].rhs_spec[0]]
    each = math.prod(right) // outputs
  return math.prod(equation.outvars[0].aval.shape) * each
