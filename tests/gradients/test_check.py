"""The error measure of the gradient checks."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradcheck import check

ZERO = np.zeros(2)


def test_the_error_is_relative_to_the_largest_cotangent():
  expected = ({"a": np.array([8.0, -2.0])}, np.array([1.0]))
  actual = ({"a": np.array([8.0, -1.0])}, np.array([1.0]))
  assert check.error(actual, expected, np.array(4.0)) == 1 / 8
  assert check.error(actual, expected, np.array(-16.0)) == 1 / 16


def test_small_cotangents_have_an_absolute_error():
  assert check.error((ZERO + 1e-3,), (ZERO,), 1e-4) == 1e-3


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_an_unexpected_non_finite_value_is_an_infinite_error(wrong):
  assert check.error((np.array([wrong, 0.0]),), (ZERO,), 1.0) == np.inf
  assert check.error((ZERO,), (np.array([wrong, 0.0]),), 1.0) == np.inf


def test_equal_non_finite_values_have_no_error():
  same = (np.array([np.inf, np.nan, 1.0]),)
  assert check.error(same, same, 1.0) == 0


@pytest.mark.parametrize("wrong", [(ZERO, ZERO), (np.zeros(3),), {"a": ZERO}])
def test_a_wrong_structure_or_shape_is_an_infinite_error(wrong):
  assert check.error(wrong, (ZERO,), 1.0) == np.inf


def test_types_differ_when_dtypes_differ():
  x = jnp.zeros(2, jnp.float32)
  assert check.same_types((x,), (x,))
  assert not check.same_types((x,), (x.astype(jnp.bfloat16),))
