"""The recurrence that compares two sums, against Python's integers."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import compare_sums


@pytest.fixture(params=["eager", "jit"])
def run(request):
  return jax.jit if request.param == "jit" else lambda function: function


def expected(xs):
  difference = sum(xs[1::2]) - sum(xs[::2])
  return difference, (difference > 0) + 0.5 * (difference == 0)


@pytest.mark.parametrize("length", [2, 4])
def test_all_short_sequences_are_compared(run, length):
  sequences = list(itertools.product(range(-2, 3), repeat=length))
  states, output = run(compare_sums.compare)(jnp.array(sequences))
  found = zip(states[:, -1].tolist(), output.tolist())
  assert list(found) == [expected(xs) for xs in sequences]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("length", [0, 2, 1000])
def test_any_even_length_is_exact(run, length):
  rng = np.random.default_rng(length)
  for _ in range(3):
    xs = rng.integers(-2000, 2001, length)
    states, output = run(compare_sums.compare)(jnp.array(xs, int))
    difference, side = expected(xs.tolist())
    assert (float(states[-1]) if length else 0) == difference and float(output) == side
  balanced = np.repeat(xs, 2)  # Sums that are equal, and then differ by the least.
  for change in (0, 1, -1):
    values = balanced + change * (np.arange(2 * length) == 1)
    _, output = run(compare_sums.compare)(jnp.array(values, int))
    assert float(output) == (0.5 if not length else {0: 0.5, 1: 1, -1: 0}[change])


@pytest.mark.parametrize("xs, shape", [([1, 2, 3], r"\(3,\)"), (4, r"\(\)")])
def test_an_odd_length_is_refused(xs, shape):
  with pytest.raises(ValueError, match=f"expected an even number of integers .* got shape {shape}"):
    compare_sums.compare(xs)
