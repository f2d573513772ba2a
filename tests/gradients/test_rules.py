"""Every hand-derived rule, over random shapes, against jax and central differences.

The cases in dlx/gradcheck/cases describe the inputs.
"""

import dataclasses

from hypothesis import Phase, given, settings, strategies
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradcheck import check, mutants
from dlx.gradcheck.case import all_cases

CASES = all_cases()
SAMPLE = 2  # Mutants of each rule in the short suite; the full suite tries all.
pytestmark = pytest.mark.usefixtures("x64")
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def shapes(few, many):
  """Runs the test with few random shapes, and with many in the full suite."""
  return pytest.mark.parametrize(
      "examples", [few, pytest.param(many, marks=pytest.mark.full)], ids=["few", "many"]
  )


def for_drawn_sizes(case, examples, test):
  """Calls test(rng, **sizes) with sizes that hypothesis draws, the same in every run."""

  # No shrinking: every smaller shape would be compiled, and the shapes are small already.
  @settings(
      max_examples=examples,
      derandomize=True,
      deadline=None,
      database=None,
      phases=[Phase.generate],
  )
  @given(
      sizes=strategies.fixed_dictionaries(
          {name: strategies.sampled_from(list(choices)) for name, choices in case.sizes.items()}
      ),
      seed=strategies.integers(0, 2**31),
  )
  def run(sizes, seed):
    test(np.random.default_rng(seed), **sizes)

  run()


@pytest.mark.sampled(len(CASES))
@each_case
@shapes(2, 50)
def test_every_cotangent_equals_that_of_jax(case, examples):
  def test(rng, **sizes):
    assert check.vjp_error(case, rng, **sizes) < 1e-11

  for_drawn_sizes(case, examples, test)


@pytest.mark.sampled(5)
@each_case
@shapes(1, 20)
def test_every_cotangent_equals_central_differences(case, examples):
  def test(rng, **sizes):
    assert check.difference_error(case, rng, **sizes) < 1e-6

  for_drawn_sizes(case, examples, test)


@pytest.mark.full
@each_case
def test_second_derivatives_equal_those_of_jax(case):
  def test(rng, **sizes):
    assert check.second_order_error(case, rng, **sizes) < 1e-10

  if not case.second_order:
    pytest.skip("the case says why")
  for_drawn_sizes(case, 20, test)


@pytest.mark.full
@each_case
def test_float32_and_bfloat16_are_close_to_float64(case):
  def test(rng, **sizes):
    assert check.low_precision_error(case, rng, jnp.float32, **sizes) < 1e-5
    assert check.low_precision_error(case, rng, jnp.bfloat16, **sizes) < case.bfloat16

  for_drawn_sizes(case, 20, test)


@pytest.mark.sampled(6)
@each_case
def test_eager_jit_vmap_and_leading_dimensions_agree(case):
  rng = np.random.default_rng(0)
  assert check.eager_error(case, rng) < 1e-12
  assert check.vmap_error(case, rng) < 1e-12
  if case.batched is not None:
    assert check.leading_error(case, rng) < 1e-12


@pytest.mark.sampled(6)
@each_case
def test_a_sample_of_the_mutants_is_found(case):
  assert mutants.survivors(case, mutants.generate(case, SAMPLE)) == []


@pytest.mark.full
@each_case
def test_every_mutant_is_found(case):
  assert mutants.survivors(case) == []


@pytest.mark.full
@each_case
def test_mutants_listed_as_equivalent_are_not_found(case):
  every = mutants.generate(dataclasses.replace(case, equivalent={}, mutants=()))
  listed = {part: [m for m in every if part in m.what] for part in case.equivalent}
  for part, same in listed.items():
    assert same and mutants.survivors(case, same) == [m.what for m in same], part
