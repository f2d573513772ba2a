"""Ridge regression against least squares of an augmented system and gradient descent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.errors import UserError
from dlx.layers import linear, losses
from dlx.models import ridge


@pytest.fixture
def examples():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(30, 4)) @ rng.normal(size=(4, 4)) + 3
  return x, x @ rng.normal(size=(4, 2)) + [7, -1] + rng.normal(size=(30, 2))


@pytest.mark.parametrize("penalty", [0.0, 1e-12, 1e-3, 0.5, 100.0])
def test_it_is_the_least_squares_solution_of_the_augmented_system(examples, penalty):
  x, y = examples
  (found,) = ridge.fit(x, y, [penalty])
  columns = np.c_[x, np.ones(30)]
  rows = np.sqrt(30 * penalty) * np.eye(4, 5)  # The intercept has no penalty.
  expected, *_ = np.linalg.lstsq(np.r_[columns, rows], np.r_[y, np.zeros((4, 2))], rcond=None)
  np.testing.assert_allclose(found["kernel"], expected[:4], rtol=1e-8, atol=1e-9)
  np.testing.assert_allclose(found["bias"], expected[4], rtol=1e-8)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_its_loss_has_a_zero_gradient_there(x64, examples, compile_):
  x, y = map(jnp.asarray, examples)
  (found,) = ridge.fit(x, y, [0.1])

  def loss(params):
    error = losses.squared_error(linear.apply(params, x), y) * y.shape[1]
    return error + losses.l2_penalty(params["kernel"], 2 * 0.1)

  slopes = compile_(jax.grad(loss))(jax.tree.map(jnp.asarray, found))
  for slope in jax.tree.leaves(slopes):
    np.testing.assert_allclose(slope, 0, atol=1e-12)


def test_gradient_descent_reaches_it(x64, examples):
  x, y = map(jnp.asarray, examples)
  x = (x - x.mean(0)) / x.std(0)
  (expected,) = ridge.fit(x, y, [0.1])

  def loss(params):
    error = losses.squared_error(linear.apply(params, x), y) * y.shape[1]
    return error + losses.l2_penalty(params["kernel"], 2 * 0.1)

  def step(params, _):
    return jax.tree.map(lambda p, d: p - 0.2 * d, params, jax.grad(loss)(params)), None

  start = {"kernel": jnp.zeros((4, 2)), "bias": jnp.zeros(2)}
  found, _ = jax.lax.scan(step, start, length=2000)
  for name in found:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-6, atol=1e-6)


def test_one_target_may_be_a_vector(examples):
  x, y = examples
  (one,), (column,) = ridge.fit(x, y[:, 0], [0.1]), ridge.fit(x, y[:, :1], [0.1])
  assert one["kernel"].shape == (4, 1) and one["bias"].shape == (1,)
  np.testing.assert_array_equal(one["kernel"], column["kernel"])


@pytest.mark.parametrize("x", [
    np.random.default_rng(0).normal(size=(3, 5)),  # More features than rows.
    np.c_[np.arange(9.0), 2 * np.arange(9.0) - 1],  # A feature that is another one.
    np.c_[np.arange(9.0), np.full(9, 0.1)],  # A constant.
])  # fmt: skip
def test_without_a_penalty_a_solution_that_is_not_unique_is_refused(x):
  y = np.arange(len(x))
  with pytest.raises(UserError, match="no unique solution: .* give an L2 penalty above 0"):
    ridge.fit(x, y, [0.1, 0.0])
  (found,) = ridge.fit(x, y, [0.1])
  assert np.isfinite(found["kernel"]).all()
