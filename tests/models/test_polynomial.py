"""Monomials against all exponents by brute force."""

import itertools

import jax
import numpy as np
import pytest

from dlx.errors import UserError
from dlx.models import polynomial


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("d, degree, squares", [
    (1, 5, True), (3, 1, True), (3, 3, True), (3, 3, False), (2, 2, False), (4, 2, True),
])  # fmt: skip
def test_every_monomial_up_to_the_degree_occurs_once(x64, compile_, d, degree, squares):
  rows = polynomial.monomials(d, degree, squares=squares)
  x = np.random.default_rng(0).normal(size=(2, 5, d))
  found = compile_(lambda x: polynomial.features(x, rows))(x)
  exponents = [
      e for e in itertools.product(range(degree + 1), repeat=d)
      if 0 < sum(e) <= degree and (squares or max(e) == 1)
  ]  # fmt: skip
  expected = np.stack([np.prod(x ** np.array(e), -1) for e in exponents], -1)
  assert found.shape == (2, 5, len(exponents))
  np.testing.assert_allclose(np.sort(found, -1), np.sort(expected, -1), rtol=1e-12)
  assert len(rows) == polynomial.count(d, degree, squares=squares)


def test_the_first_are_the_entries_and_names_say_which_one_each_is():
  rows = polynomial.monomials(2, 3)
  x = np.array([2.0, 3.0])
  names = polynomial.names(rows, ["a", "b"])
  assert names == ["a", "b", "a^2", "a b", "b^2", "a^3", "a^2 b", "a b^2", "b^3"]
  assert polynomial.features(x, rows).tolist() == [2, 3, 4, 6, 9, 8, 12, 18, 27]
  assert polynomial.names(polynomial.monomials(2, 2, squares=False), "ab") == ["a", "b", "a b"]


def test_too_many_are_refused_and_many_entries_of_degree_one_are_not():
  with pytest.raises(UserError, match="784 inputs have more than 10,000 monomials"):
    polynomial.monomials(784, 2)
  assert len(polynomial.monomials(20_000, 1)) == 20_000
