"""Every hand-derived rule, over drawn shapes, against jax and against differences.

What is drawn is described by the cases in dlx/gradcheck/cases.
"""

from hypothesis import given, settings, strategies
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradcheck import check, mutants
from dlx.gradcheck.case import all_cases

CASES = all_cases()
pytestmark = pytest.mark.usefixtures("x64")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def shapes(few, many):
  """Runs the test with few drawn shapes, and with many in the full suite."""
  return pytest.mark.parametrize(
      "examples", [few, pytest.param(many, marks=pytest.mark.full)], ids=["few", "many"]
  )


def for_drawn_sizes(case, examples, test):
  """Calls test(rng, **sizes) with sizes that hypothesis draws, the same at every run."""

  @settings(max_examples=examples, derandomize=True, deadline=None, database=None)
  @given(
      sizes=strategies.fixed_dictionaries(
          {name: strategies.sampled_from(list(choices)) for name, choices in case.sizes.items()}
      ),
      seed=strategies.integers(0, 2**31),
  )
  def run(sizes, seed):
    test(np.random.default_rng(seed), **sizes)

  run()


@each_case
@shapes(5, 50)
def test_every_element_is_that_of_jax(case, examples):
  def test(rng, **sizes):
    assert check.vjp_error(case, rng, **sizes) < 1e-11

  for_drawn_sizes(case, examples, test)


@each_case
@shapes(2, 20)
def test_every_element_is_the_slope_of_central_differences(case, examples):
  def test(rng, **sizes):
    assert check.difference_error(case, rng, **sizes) < 1e-6

  for_drawn_sizes(case, examples, test)


@each_case
@shapes(2, 20)
def test_the_rule_differentiates_again(case, examples):
  def test(rng, **sizes):
    assert check.second_order_error(case, rng, **sizes) < 1e-10

  if not case.second_order:
    pytest.skip("the case says why")
  for_drawn_sizes(case, examples, test)


@each_case
@shapes(2, 20)
def test_float32_and_bfloat16_are_close_to_float64(case, examples):
  def test(rng, **sizes):
    assert check.low_precision_error(case, rng, jnp.float32, **sizes) < 1e-5
    assert check.low_precision_error(case, rng, jnp.bfloat16, **sizes) < case.bfloat16

  for_drawn_sizes(case, examples, test)


@each_case
def test_eager_jit_vmap_and_leading_dimensions_agree(case):
  rng = np.random.default_rng(0)
  assert check.eager_error(case, rng) < 1e-12
  assert check.vmap_error(case, rng) < 1e-12
  if case.batched is not None:
    assert check.leading_error(case, rng) < 1e-12


@pytest.mark.parametrize(
    "case, mistake",
    [pytest.param(c, m, id=f"{c.name}-{m.what}") for c in CASES for m in c.mistakes],
)
def test_a_planted_mistake_is_found(case, mistake):
  assert mutants.error(case, mistake) > mutants.FOUND


@pytest.mark.full
@each_case
def test_a_rule_without_one_of_its_terms_is_found(case):
  not_found = []
  for label, rule in mutants.dropped_terms(case.rule):
    if any(part in label for part in case.without_effect):
      continue
    try:
      found = mutants.error_of(case, rule) > mutants.FOUND
    except Exception:  # Whatever jax says of a term less: the rule no longer runs.
      found = True
    if not found:
      not_found.append(label)
  assert not not_found


@each_case
def test_mistakes_are_planted_in_every_rule(case):
  assert len(case.mistakes) >= 2
  assert len({mistake.what for mistake in case.mistakes}) == len(case.mistakes)
