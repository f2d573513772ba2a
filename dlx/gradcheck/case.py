"""A test case: a reference function, the rule for its gradient, and random inputs for both."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
import importlib
import pkgutil
from typing import Any, NamedTuple

import numpy as np

LEADING = ((), (3,), (1,), (2, 2))  # Leading (batch) dimensions worth trying.


class Mutant(NamedTuple):
  """A wrong rule, which the checks must find.

  Attributes:
    what: the mistake in words, "padding is stepped through".
    rule: called as the right rule is.
  """

  what: str
  rule: Callable


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
  """One function, its hand-derived rule, and how to draw inputs for both.

  Attributes:
    name: "family.function", as the layer is called: "attention.dot_product_attention".
    reference: `reference(*inputs, **options) -> out`, differentiable by jax.
    rule: `rule(*inputs, d_out=..., **options)`, a function of a module (not a lambda or a
      closure). Returns the cotangents of the inputs: a tuple, or the bare cotangent when
      there is one input.
    draw: `draw(rng, **sizes) -> (inputs, options)` with a numpy Generator: inputs is a
      tuple of trees of float64 numpy arrays, all of which are differentiated; options
      a dict of all the rest (ids, masks, lengths, Python values).
    sizes: the choices for each keyword of `draw`. The first choice of each makes the
      small example that is printed. Any combination must be valid, or be made valid by
      `draw`.
    formula: the function and its derivative in one line of text.
    typical: the sizes at which time and memory are measured; others are the first choice.
    batched: for each input, whether leading dimensions `batch` (a key of sizes) are in
      front of it; None when the function mixes examples or takes no leading dimensions.
    batched_options: names of the options that have them too.
    equivalent: mutants that compute the same as the rule on all drawn inputs: a part of
      the description ("operator: before -> after") and the reason. A term may be there for
      huge or infinite inputs, or for another function that shares the code.
    mutants: wrong rules beyond the generated ones.
    bfloat16: the largest error in bfloat16, as a fraction of the largest cotangent.
    second_order: whether jax differentiates both twice (False needs a reason beside it).
  """

  name: str
  reference: Callable[..., Any]
  rule: Callable[..., Any]
  draw: Callable[..., tuple[tuple, dict[str, Any]]]
  sizes: Mapping[str, Sequence]
  formula: str = ""
  typical: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  batched: tuple[bool, ...] | None = None
  batched_options: tuple[str, ...] = ()
  equivalent: Mapping[str, str] = dataclasses.field(default_factory=dict)
  mutants: tuple[Mutant, ...] = ()
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
