"""Planting mistakes: what counts as planted, and as found."""

import jax.numpy as jnp
import pytest

from dlx.gradcheck import mutants
from dlx.gradcheck.case import Mistake, all_cases
from dlx.gradients import activations

pytestmark = pytest.mark.usefixtures("x64")


def test_a_planted_mistake_changes_the_rule_and_not_the_module():
  mistake = Mistake("the sign", "return d_out", "return -d_out")
  wrong = mutants.plant(activations.sigmoid_vjp, mistake)
  x = jnp.asarray([0.5])
  right = activations.sigmoid_vjp(x, d_out=x)
  assert wrong(x, d_out=x) == -right
  assert activations.sigmoid_vjp(x, d_out=x) == right


@pytest.mark.parametrize("text", ["no such text", "x"])
def test_a_text_that_does_not_occur_once_is_refused(text):
  with pytest.raises(ValueError, match="expected .* once, found it"):
    mutants.plant(activations.sigmoid_vjp, Mistake("nothing", text, ""))


def test_a_change_without_an_effect_is_not_found():
  (case,) = (case for case in all_cases() if case.name == "activations.sigmoid")
  harmless = Mistake("a product with 1", "return d_out", "return 1 * d_out")
  assert mutants.error(case, harmless) < 1e-12


def test_a_mistake_that_does_not_run_is_not_taken_for_found():
  (case,) = (case for case in all_cases() if case.name == "activations.sigmoid")
  with pytest.raises(NameError):
    mutants.error(case, Mistake("a misspelt name", "return d_out", "return d_uot"))
