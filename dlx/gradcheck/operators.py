"""Mutation operators: small mistakes that can be made in the source of a function.

Each operator is a function of a node of the syntax tree that yields the nodes that can
take its place:

  operand     a + b -> a, a + b -> b; the same for -, *, & and |, and a / b -> a
  sign        a + b -> a - b, a - b -> a + b, -a -> a
  transpose   a @ b -> a @ b.mT, a.T -> a
  argument    f(a) -> a, where(a, b, c) -> b, where(a, b, c) -> c; f(a, b) -> a and
              f(a, b) -> b where f is a function of another module of the project
  swap        f(a, b) -> f(b, a), (a, b) -> (b, a), where a and b are names
  comparison  a < b -> a <= b, a < b -> a > b, a == b -> a != b, a is b -> a is not b
  condition   if a -> if not a, where a is not a comparison
  reduction   sum -> mean, max -> min, add -> set, axis -1 -> -2
  keyword     f(mask=mask) -> f(mask=None), f(mask=not mask)
  update      a += b -> a = b
"""

import ast
from collections.abc import Collection, Iterator
from typing import NamedTuple

REDUCTIONS = {
    "sum": "mean",
    "mean": "sum",
    "max": "min",
    "min": "max",
    "maximum": "minimum",
    "minimum": "maximum",
    "argmax": "argmin",
    "argmin": "argmax",
    "add": "set",
}
COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
DTYPES = ("promote_types", "result_type")  # The checks run in float64 alone.
IDENTITIES = ("asarray", "astype", "optimization_barrier", "stop_gradient", "tuple")


class Mutation(NamedTuple):
  """One node in place of another.

  Attributes:
    operator: the name of the operator.
    before: the node of the function's tree.
    after: the node that takes its place.
  """

  operator: str
  before: ast.AST
  after: ast.AST

  def __str__(self) -> str:
    """The operator and both nodes as source text: "sign: -a -> a"."""
    before, after = (" ".join(ast.unparse(node).split()) for node in (self.before, self.after))
    return f"{self.operator}: {before} -> {after}"


def mutations(function: ast.FunctionDef, modules: Collection[str]) -> Iterator[Mutation]:
  """All mutations of a function's body, in the order of the source.

  Args:
    function: the syntax tree of a function.
    modules: the names by which the function knows other modules of its project.
  """
  for node in walk(function):
    for operator, replacements in OPERATORS.items():
      for after in replacements(node):
        yield Mutation(operator, node, after)
    if isinstance(node, ast.Call):
      for after in _arguments(node, modules):
        yield Mutation("argument", node, after)
    if isinstance(node, (ast.If, ast.IfExp)) and not isinstance(node.test, ast.Compare):
      yield Mutation("condition", node.test, ast.UnaryOp(ast.Not(), node.test))


def walk(node: ast.AST) -> Iterator[ast.AST]:
  """The nodes that compute the result.

  Leaves out checks and their messages, dtypes, annotations, defaults, and while loops,
  whose mutants might not terminate.
  """
  if isinstance(node, (ast.Raise, ast.Assert, ast.Expr, ast.JoinedStr, ast.While)):
    return
  if isinstance(node, ast.If) and all(isinstance(one, ast.Raise) for one in node.body):
    return
  if isinstance(node, ast.Call) and _name(node) in DTYPES:
    return
  yield node
  if isinstance(node, ast.FunctionDef):
    children = node.body
  elif isinstance(node, ast.AnnAssign):
    children = filter(None, [node.value])
  elif isinstance(node, ast.Lambda):
    children = [node.body]
  else:
    children = ast.iter_child_nodes(node)
  for child in children:
    yield from walk(child)


def _operand(node):
  if isinstance(node, ast.BinOp):
    if isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.BitAnd, ast.BitOr)):
      yield node.left
      if not isinstance(node.op, ast.Div):
        yield node.right


def _sign(node):
  if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub)):
    op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
    yield ast.BinOp(node.left, op, node.right)
  elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
    if not _is_axis(node):
      yield node.operand


def _is_axis(node) -> bool:
  """Whether the node is a small negative integer: counted from the front it may be the same."""
  return (
      isinstance(node, ast.UnaryOp)
      and isinstance(node.operand, ast.Constant)
      and node.operand.value in (1, 2, 3)
  )


def _transpose(node):
  if isinstance(node, ast.BinOp) and isinstance(node.op, ast.MatMult):
    yield ast.BinOp(node.left, node.op, ast.Attribute(node.right, "mT", ast.Load()))
  elif isinstance(node, ast.Attribute) and node.attr in ("T", "mT"):
    yield node.value


def _arguments(call, modules):
  name, module = _name(call), getattr(getattr(call.func, "value", None), "id", None)
  if name in IDENTITIES:
    return
  if name == "where":
    arguments = call.args[1:]
  elif len(call.args) == 1 and not call.keywords or module in modules:
    arguments = call.args
  else:
    return
  for argument in arguments:
    if not isinstance(argument, (ast.Constant, ast.UnaryOp, ast.Lambda, ast.Starred)):
      yield argument


def _name(call) -> str | None:
  """The last part of the called function's name."""
  function = call.func
  return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)


def _swap(node):
  if isinstance(node, ast.Call):
    values = node.args
  elif isinstance(node, (ast.Tuple, ast.List)) and isinstance(node.ctx, ast.Load):
    values = node.elts
  else:
    return
  for i in range(len(values) - 1):
    if len({value.id for value in values[i : i + 2] if isinstance(value, ast.Name)}) == 2:
      swapped = [*values[:i], values[i + 1], values[i], *values[i + 2 :]]
      if isinstance(node, ast.Call):
        yield ast.Call(node.func, swapped, node.keywords)
      else:
        yield type(node)(swapped, node.ctx)


def _comparison(node):
  if isinstance(node, ast.Compare) and len(node.ops) == 1:
    for op in COMPARISONS[type(node.ops[0])]:
      yield ast.Compare(node.left, [op()], node.comparators)


def _reduction(node):
  if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
    return
  function = node.func
  if function.attr not in REDUCTIONS:
    return
  other = ast.Attribute(function.value, REDUCTIONS[function.attr], ast.Load())
  yield ast.Call(other, node.args, node.keywords)
  for i, argument in enumerate(node.args):
    if isinstance(argument, ast.UnaryOp) and ast.unparse(argument) == "-1":
      yield ast.Call(function, [*node.args[:i], ast.Constant(-2), *node.args[i + 1 :]],
                     node.keywords)  # fmt: skip


def _keyword(node):
  if not isinstance(node, ast.Call):
    return
  for i, keyword in enumerate(node.keywords):
    if isinstance(keyword.value, ast.Name) and keyword.value.id == keyword.arg:
      for value in (ast.Constant(None), ast.UnaryOp(ast.Not(), keyword.value)):
        changed = [*node.keywords[:i], ast.keyword(keyword.arg, value), *node.keywords[i + 1 :]]
        yield ast.Call(node.func, node.args, changed)


def _update(node):
  if isinstance(node, ast.AugAssign):
    yield ast.Assign([node.target], node.value, lineno=node.lineno)


OPERATORS = {
    "operand": _operand,
    "sign": _sign,
    "transpose": _transpose,
    "swap": _swap,
    "comparison": _comparison,
    "reduction": _reduction,
    "keyword": _keyword,
    "update": _update,
}
