"""What is checked: a plain function, the rule for its gradient, and inputs to try them on."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import pkgutil
from typing import Any

import numpy as np

LEADING = ((), (3,), (1,), (2, 2))  # Leading (batch) dimensions worth trying.


@dataclasses.dataclass(frozen=True)
class Mistake:
  """A wrong line to plant in a rule's source: the checker must find it.

  Attributes:
    what: the mistake in words, "no 1/sqrt(d) in d_query".
    right: source text that occurs exactly once in the function (a line or a part of it).
    wrong: what takes its place.
    function: the function in the rule's module that is changed; the rule itself when None.
  """

  what: str
  right: str
  wrong: str
  function: str | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """One function, its hand-derived rule, and how to draw inputs for both.

  Attributes:
    name: "family.function", as the layer is called: "attention.dot_product_attention".
    formula: the function and its derivative in one line of text.
    plain: `plain(*inputs, **options) -> out`, differentiable by jax.
    rule: `rule(*inputs, d_out=..., **options)`, a function of dlx.gradients (not a
      lambda). Returns the cotangents of the inputs: a tuple, or the bare cotangent when
      there is one input.
    draw: `draw(rng, **sizes) -> (inputs, options)` with a numpy Generator: inputs is a
      tuple of trees of float64 numpy arrays, all of which are differentiated; options
      a dict of all the rest (ids, masks, lengths, Python values).
    sizes: the choices for each keyword of `draw`. The first choice of each makes the
      small example that is printed. Any combination must be valid, or be made valid by
      `draw`.
    typical: values for sizes at which time and memory are measured; all of sizes' keys.
    batched: for each input, whether leading dimensions `batch` (a key of sizes) are in
      front of it; None when the function mixes examples or takes no leading dimensions.
    batched_options: names of the options that have them too.
    mistakes: at least two.
    without_effect: expressions of the rule (or parts of them) with a term that changes no
      drawn cotangent: it is there for huge or infinite inputs, or for another function
      that shares the code. A comment says which, and another test shows what it is for.
    bfloat16: the largest error in bfloat16, as a share of the largest cotangent.
    second_order: whether jax differentiates both twice (False needs a reason beside it).
  """

  name: str
  formula: str
  plain: Callable[..., Any]
  rule: Callable[..., Any]
  draw: Callable[..., tuple[tuple, dict[str, Any]]]
  sizes: Mapping[str, Sequence]
  typical: Mapping[str, Any]
  mistakes: tuple[Mistake, ...]
  batched: tuple[bool, ...] | None = None
  batched_options: tuple[str, ...] = ()
  without_effect: tuple[str, ...] = ()
  bfloat16: float = 2e-2
  second_order: bool = True

  @property
  def family(self) -> str:
    """The part of the name before the dot."""
    return self.name.split(".")[0]

  def example(self, rng: np.random.Generator, **sizes) -> tuple[tuple, dict[str, Any]]:
    """Draws inputs and options: the small example, with `sizes` in place of its own."""
    return self.draw(rng, **{name: choices[0] for name, choices in self.sizes.items()} | sizes)


def all_cases() -> list[Case]:
  """The cases of every module in dlx/gradcheck/cases, in the order of their names."""
  package = importlib.import_module("dlx.gradcheck.cases")
  modules = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
  return [
      case
      for name in modules
      for case in importlib.import_module(f"dlx.gradcheck.cases.{name}").CASES
  ]
