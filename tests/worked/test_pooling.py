"""Multiple-choice questions about max pooling: a small input, commuting with relu."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import conv, pooling

pytestmark = pytest.mark.usefixtures("x64")


def pool(x):
  """2 x 2 windows, stride 1."""
  return pooling.max_pool(x, 2, 1)


def test_two_windows_have_the_maxima_five_and_six(run):
  """Final exam of February 26, 2022, part 1, question 8: [1 2 3; 4 5 6] gives [5 6]."""
  x = jnp.array([[1.0, 2, 3], [4, 5, 6]])[..., None]
  y = run(pool)(x)
  assert y.shape == (1, 2, 1)
  np.testing.assert_array_equal(y[..., 0], [[5, 6]])


def test_only_one_of_the_two_options_without_a_box_is_right(run):
  """Erratum of that question. [5 6] and [2 3; 4 5] both have no empty box.

  Two rows of input and a 2 x 2 window at stride 1 leave one row.
  """
  x = jnp.array([[1.0, 2, 3], [4, 5, 6]])[..., None]
  y = run(pool)(x)[..., 0]
  assert y.shape == (1, 2) != np.shape([[2, 3], [4, 5]])
  np.testing.assert_array_equal(y, [[5, 6]])


def test_relu_and_max_pooling_commute(run):
  """Final exam of January 25, 2023, part 1, question 2: relu never changes an order."""
  x = jnp.asarray(np.random.default_rng(0).normal(size=(4, 5, 5, 2)) - 0.5)
  first = run(lambda x: pool(jax.nn.relu(x)))(x)
  then = run(lambda x: jax.nn.relu(pool(x)))(x)
  np.testing.assert_array_equal(first, then)
  assert (first == 0).any() and (first > 0).any()


def test_a_convolution_commutes_with_neither(run):
  """The same question, its other options: already the filter -1 turns order and sign over."""
  params = {"kernel": -jnp.ones((1, 1, 1, 1))}
  x = jnp.array([[1.0, 2], [3, -4]])[..., None]

  def single(f):
    return np.asarray(run(f)(x))[..., 0]

  np.testing.assert_array_equal(single(lambda x: pool(conv.apply(params, x))), [[4]])
  np.testing.assert_array_equal(single(lambda x: conv.apply(params, pool(x))), [[-3]])
  after = single(lambda x: jax.nn.relu(conv.apply(params, x)))
  before = single(lambda x: conv.apply(params, jax.nn.relu(x)))
  np.testing.assert_array_equal(after, [[0, 0], [0, 4]])
  np.testing.assert_array_equal(before, [[-1, -2], [-3, 0]])
