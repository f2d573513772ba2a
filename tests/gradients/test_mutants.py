"""Mutants of a rule: which are generated, and when a mutant counts as found."""

import ast
import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradcheck import check, mutants, operators
from dlx.gradcheck.case import Case, Mutant, all_cases
from dlx.gradients import activations

pytestmark = pytest.mark.usefixtures("x64")


def scaled_tanh(x, scale):
  return scale * jnp.tanh(x)


def scaled_tanh_vjp(x, scale, *, d_out):
  t = jnp.tanh(x)
  return d_out * scale * (1 - t * t), jnp.sum(d_out * t)


def without_scale_vjp(x, scale, *, d_out):
  t = jnp.tanh(x)
  return d_out * (1 - t * t), jnp.sum(d_out * t)


def draw(rng, n):
  return (rng.normal(size=n), rng.normal()), {}


CASE = Case("my.scaled_tanh", scaled_tanh, scaled_tanh_vjp, draw, sizes={"n": (3, 1, 5)})


@pytest.mark.parametrize(
    "source, expected",
    [
        ("-a", {"sign: -a -> a"}),
        ("a / b", {"operand: a / b -> a"}),
        ("a - b", {"operand: a - b -> a", "operand: a - b -> b", "sign: a - b -> a + b"}),
        ("a @ b", {"transpose: a @ b -> a @ b.mT"}),
        ("a.T", {"transpose: a.T -> a"}),
        ("jnp.tanh(a)", {"argument: jnp.tanh(a) -> a"}),
        (
            "jnp.where(a, b, 0)",
            {
                "argument: jnp.where(a, b, 0) -> b",
                "swap: jnp.where(a, b, 0) -> jnp.where(b, a, 0)",
            },
        ),
        (
            "shared.f(a, 1, b)",
            {"argument: shared.f(a, 1, b) -> a", "argument: shared.f(a, 1, b) -> b"},
        ),
        ("[a, b]", {"swap: [a, b] -> [b, a]"}),
        ("a <= b", {"comparison: a <= b -> a < b", "comparison: a <= b -> a >= b"}),
        ("b if a else 0", {"condition: a -> not a"}),
        (
            "a.sum(-1)",
            {"reduction: a.sum(-1) -> a.mean(-1)", "reduction: a.sum(-1) -> a.sum(-2)"},
        ),
        ("f(mask=mask)", {"keyword: f(mask=mask) -> f(mask=None)",
                          "keyword: f(mask=mask) -> f(mask=not mask)"}),
    ],
)  # fmt: skip
def test_every_operator_makes_its_mutations(source, expected):
  (function,) = ast.parse(f"def f(a, b):\n  return {source}").body
  assert {str(one) for one in operators.mutations(function, {"shared"})} == expected


def test_checks_messages_and_dtypes_are_not_mutated():
  source = '''
def f(a, b=-1):
  """A text."""
  if a < 0:
    raise ValueError(f"{-a}")
  expect_like(a - 1)
  dtype = jnp.result_type(a, b)
  while a + 1 < b:
    a = -a
'''
  (function,) = ast.parse(source).body
  assert list(operators.mutations(function, ())) == []


def test_a_mutant_changes_the_rule_and_not_the_module():
  (case,) = (case for case in all_cases() if case.name == "activations.sigmoid")
  x = jnp.asarray([0.5])
  right = activations.sigmoid_vjp(x, d_out=x)
  for mutant in mutants.generate(case):
    assert mutant.rule(x, d_out=x) != right
    assert activations.sigmoid_vjp(x, d_out=x) == right


def test_functions_that_the_rule_calls_are_mutated():
  (case,) = (case for case in all_cases() if case.name == "attention.weights")
  functions = {mutant.what.split(":")[0] for mutant in mutants.generate(case)}
  assert {"weights_vjp", "_scores_vjp", "_product_vjp", "weights", "allowed"} <= functions


def test_every_mutant_of_a_user_rule_is_found_without_quoting_its_source():
  assert check.vjp_error(CASE, np.random.default_rng(0)) < 1e-11
  found = mutants.generate(CASE)
  assert {mutant.what for mutant in found} >= {
      "scaled_tanh_vjp: operand: d_out * scale -> d_out",
      "scaled_tanh_vjp: sign: 1 - t * t -> 1 + t * t",
      "scaled_tanh_vjp: reduction: jnp.sum(d_out * t) -> jnp.mean(d_out * t)",
  }
  assert mutants.survivors(CASE) == []


def test_a_sample_is_the_same_every_time_and_has_mutants_of_every_operator():
  sample = [mutant.what for mutant in mutants.generate(CASE, 5)]
  assert sample == [mutant.what for mutant in mutants.generate(CASE, 5)]
  assert len(set(sample)) == 5
  operators_of = lambda found: {what.split(": ")[1] for what in found}  # noqa: E731
  assert operators_of(sample) == operators_of(mutant.what for mutant in mutants.generate(CASE))


def test_equivalent_mutants_are_left_out():
  case = dataclasses.replace(CASE, equivalent={"sign: ": "as an example"})
  whats = {mutant.what for mutant in mutants.generate(case)}
  assert whats == {m.what for m in mutants.generate(CASE) if "sign: " not in m.what}


def test_inputs_that_hide_a_mistake_leave_survivors():
  def draw_with_scale_1(rng, n):
    return (rng.normal(size=n), np.ones(())), {}

  case = dataclasses.replace(CASE, draw=draw_with_scale_1)
  assert "scaled_tanh_vjp: operand: d_out * scale -> d_out" in mutants.survivors(case)


def test_a_wrong_rule_is_found_and_the_right_one_is_not():
  assert mutants.error(CASE, Mutant("no scale", without_scale_vjp)) > mutants.FOUND
  assert mutants.error(CASE, Mutant("the rule itself", scaled_tanh_vjp)) < 1e-12


def test_a_rule_with_an_undefined_name_does_not_count_as_found():
  def rule(x, scale, *, d_out):
    return d_uot  # noqa: F821

  with pytest.raises(NameError):
    mutants.error(CASE, Mutant("a misspelled name", rule))


def test_a_closure_cannot_be_mutated():
  factor = 2.0

  def rule(x, scale, *, d_out):
    return factor * d_out

  case = dataclasses.replace(CASE, rule=rule)
  with pytest.raises(ValueError, match="rule: expected a function of a module, not a closure"):
    mutants.generate(case)
