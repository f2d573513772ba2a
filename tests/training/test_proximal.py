"""Proximal gradient descent: the lasso's conditions, coordinate descent, exact zeros."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.training import proximal


def test_the_soft_threshold_is_the_minimum_of_its_definition():
  grid = np.arange(-4000, 4001) / 1000
  for v in (-2.0, -0.5, 0.0, 0.3, 0.7, 2.5):
    expected = grid[np.argmin((grid - v) ** 2 / 2 + 0.5 * np.abs(grid))]
    assert float(proximal.soft_threshold(jnp.asarray(v), 0.5)) == pytest.approx(expected, abs=1e-6)


RNG = np.random.default_rng(0)
X = RNG.normal(size=(50, 8)) @ (np.eye(8) + 0.3)
Y = X @ [2.0, 0, 0, -1, 0, 0, 0.5, 0] + 3 + 0.3 * RNG.normal(size=50)
WEIGHT = 0.6


def loss(params):
  return jnp.mean((X @ params["kernel"][:, 0] + params["bias"][0] - Y) ** 2)


def descend(optimizer, steps):
  params = {"kernel": jnp.zeros((8, 1)), "bias": jnp.zeros(1)}

  def step(carry, _):
    params, state = carry
    updates, state = optimizer.update(jax.grad(loss)(params), state, params)
    return (optax.apply_updates(params, updates), state), None

  return jax.lax.scan(step, (params, optimizer.init(params)), length=steps)[0][0]


def by_coordinates(passes=2000):
  """The minimum of mean (y - X w - b)^2 + c |w|_1, one weight at a time."""
  x, y, w = X - X.mean(0), Y - Y.mean(), np.zeros(8)
  for _ in range(passes):
    for j in range(8):
      slope = 2 * x[:, j] @ (y - x @ w + x[:, j] * w[j]) / 50
      w[j] = np.sign(slope) * max(abs(slope) - WEIGHT, 0) / (2 * (x[:, j] ** 2).mean())
  return w


@pytest.mark.parametrize("scheduled", [False, True])
def test_the_lasso_meets_its_conditions_and_is_that_of_coordinate_descent(x64, scheduled):
  rate = optax.linear_schedule(0.05, 0.02, 500) if scheduled else 0.03
  optimizer = optax.chain(optax.sgd(rate), proximal.l1(rate, WEIGHT))
  found = descend(optimizer, 3000)
  w = np.asarray(found["kernel"][:, 0])
  np.testing.assert_allclose(w, by_coordinates(), atol=1e-9)
  zero = w == 0  # Exactly.
  assert 3 <= zero.sum() <= 6
  slope = jax.grad(loss)(found)
  d_w = np.asarray(slope["kernel"][:, 0])
  np.testing.assert_allclose(d_w[~zero], -WEIGHT * np.sign(w[~zero]), atol=1e-9)
  assert (np.abs(d_w[zero]) < WEIGHT).all()
  np.testing.assert_allclose(slope["bias"], 0, atol=1e-9)  # The bias has no penalty.


def test_zeros_are_exact_in_single_precision():
  found = descend(optax.chain(optax.sgd(0.03), proximal.l1(0.03, WEIGHT)), 500)
  np.testing.assert_array_equal(found["kernel"][:, 0] == 0, by_coordinates() == 0)


def test_without_a_weight_it_is_gradient_descent(x64):
  one = descend(optax.chain(optax.sgd(0.03), proximal.l1(0.03, 0.0)), 50)
  other = descend(optax.sgd(0.03), 50)
  np.testing.assert_allclose(one["kernel"], other["kernel"], rtol=1e-12, atol=1e-14)


def test_the_parameters_are_needed():
  transform = proximal.l1(0.1, 1.0)
  with pytest.raises(ValueError, match="params: expected"):
    transform.update({"kernel": jnp.ones((2, 2))}, transform.init({}))
