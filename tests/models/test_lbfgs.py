"""L-BFGS: the minimum of a quadratic form by a linear solver, and of softmax regression."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from dlx.layers import linear, losses
from dlx.models import lbfgs


def test_the_minimum_of_a_quadratic_form_is_that_of_a_linear_solver(x64):
  rng = np.random.default_rng(0)
  a = rng.normal(size=(12, 12))
  a, b = a @ a.T + np.eye(12), rng.normal(size=12)
  found = lbfgs.minimize(
      lambda w, a, b: w @ a @ w / 2 - b @ w, jnp.zeros(12), {"a": a, "b": b}, tolerance=1e-7
  )
  np.testing.assert_allclose(found.params, np.linalg.solve(a, b), atol=1e-6)
  assert float(found.gradient_norm) < 1e-7 and 0 < int(found.steps) < 200


def test_the_gradient_of_softmax_regression_is_zero_at_its_minimum(x64):
  rng = np.random.default_rng(0)
  x, labels = rng.normal(size=(40, 3)), rng.integers(0, 4, 40)

  def objective(params, x):
    terms = losses.cross_entropy(linear.apply(params, x), jnp.asarray(labels))
    return terms + losses.l2_penalty(params["kernel"], 0.01)

  start = {"kernel": jnp.zeros((3, 4)), "bias": jnp.zeros(4)}
  found = lbfgs.minimize(objective, start, {"x": jnp.asarray(x)}, tolerance=1e-8)
  w, b = (np.asarray(found.params[name]) for name in ("kernel", "bias"))
  p = np.exp(x @ w + b)
  errors = p / p.sum(1, keepdims=True) - np.eye(4)[labels]  # By hand: (p - y) x / N + l w.
  np.testing.assert_allclose(x.T @ errors / 40 + 0.01 * w, 0, atol=1e-8)
  np.testing.assert_allclose(errors.sum(0) / 40, 0, atol=1e-8)
  assert float(optax.global_norm(jax.grad(objective)(found.params, x))) < 1e-8


def test_the_number_of_steps_is_limited():
  found = lbfgs.minimize(lambda w: jnp.sum((w - 3) ** 4), jnp.zeros(2), max_steps=2)
  assert int(found.steps) == 2
