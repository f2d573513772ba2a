"""A step against one written out in numpy, and many steps against one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.training import sharding
from dlx.training import state as states
from dlx.training import step as steps_lib

XS = np.random.default_rng(0).normal(size=(16, 3))
YS = XS @ np.array([1.0, -2.0, 0.5]) + 0.3


def loss_fn(params, variables, batch, rng):
  error = batch["x"] @ params["w"] + params["b"] - batch["y"]
  metrics = {"largest": jnp.abs(error).max()}
  return 0.5 * jnp.mean(error**2), (metrics, {"seen": variables["seen"] + batch["x"].shape[0]})


def batch_fn(data, step, rng):
  rows = (jnp.arange(4) + 4 * step) % 16
  return {"x": data["x"][rows], "y": data["y"][rows], "step": step}


def random_batch_fn(data, step, rng):
  rows = jax.random.randint(rng, (4,), 0, 16)
  return {"x": data["x"][rows], "y": data["y"][rows]}


def build(optimizer, *, seed=0, ema_decay=None, batches=batch_fn, loss=loss_fn):
  """(state, data, step, steps) in the precision of the test."""
  data = {"x": jnp.asarray(XS), "y": jnp.asarray(YS)}
  params = {"w": jnp.asarray([0.1, 0.2, -0.3]), "b": jnp.asarray(0.0)}
  variables = {"seen": jnp.zeros((), jnp.int32)}
  averaged = ema_decay is not None
  state = states.create(params, optimizer, variables=variables, averaged=averaged)
  mesh = sharding.make_mesh()
  step = steps_lib.make_step(
      loss, batches, optimizer, seed=seed, mesh=mesh, ema_decay=ema_decay
  )
  return state, data, step, steps_lib.make_steps(step, mesh)


def gradient_by_hand(w, b, step):
  rows = (np.arange(4) + 4 * step) % 16
  error = XS[rows] @ w + b - YS[rows]
  return 0.5 * np.mean(error**2), XS[rows].T @ error / 4, error.mean(), np.abs(error).max()


def test_steps_of_sgd_are_those_by_hand(x64):
  state, data, step, _ = build(optax.sgd(0.1), ema_decay=0.95)
  step = jax.jit(step)
  w, b = np.array([0.1, 0.2, -0.3]), 0.0
  average = w.copy()
  for t in range(5):
    state, metrics = step(state, data)
    loss, dw, db, largest = gradient_by_hand(w, b, t)
    w, b = w - 0.1 * dw, b - 0.1 * db
    d = min(0.95, (1 + t) / (10 + t))
    average = d * average + (1 - d) * w
    expected = {"loss": loss, "largest": largest, "grad_norm": np.sqrt(dw @ dw + db**2)}
    assert metrics.keys() == expected.keys()
    for name, value in expected.items():
      np.testing.assert_allclose(metrics[name], value, rtol=1e-12)
    np.testing.assert_allclose(state.params["w"], w, rtol=1e-12)
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-6)  # Its weight is a float32.
    assert int(state.step) == t + 1 and int(state.variables["seen"]) == 4 * (t + 1)


def test_steps_of_adam_are_those_by_hand(x64):
  rate, b1, b2, eps = 0.05, 0.9, 0.99, 1e-8
  state, data, step, _ = build(optax.adam(rate, b1=b1, b2=b2, eps=eps))
  step = jax.jit(step)
  p, m, v = np.array([0.1, 0.2, -0.3, 0.0]), np.zeros(4), np.zeros(4)
  for t in range(5):
    state, _ = step(state, data)
    _, dw, db, _ = gradient_by_hand(p[:3], p[3], t)
    g = np.append(dw, db)
    m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
    m_hat, v_hat = m / (1 - b1 ** (t + 1)), v / (1 - b2 ** (t + 1))
    p = p - rate * m_hat / (np.sqrt(v_hat) + eps)
    np.testing.assert_allclose(np.append(state.params["w"], state.params["b"]), p, rtol=1e-11)


@pytest.mark.parametrize("calls", [[6], [1] * 6, [4, 2]])
def test_steps_in_one_call_are_the_steps_one_by_one(x64, calls):
  parts = {"ema_decay": 0.9, "batches": random_batch_fn}
  state, data, step, _ = build(optax.adamw(0.1), **parts)
  expected_metrics, one = [], jax.jit(step)
  for _ in range(6):
    state, metrics = one(state, data)
    expected_metrics.append(metrics)
  other, data, _, steps = build(optax.adamw(0.1), **parts)
  found = []
  for count in calls:
    other, metrics = steps(other, data, count)
    assert all(value.shape == (count,) for value in metrics.values())
    found.append(metrics)
  for name in ("loss", "grad_norm", "largest"):
    np.testing.assert_allclose(
        np.concatenate([m[name] for m in found]), [m[name] for m in expected_metrics], rtol=1e-12
    )
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), other.ema, state.ema)
  other, state = other.replace(ema=None), state.replace(ema=None)
  for x, y in zip(jax.tree.leaves(other), jax.tree.leaves(state)):
    np.testing.assert_allclose(x, y, rtol=1e-12)


def drawn(seed, start, count):
  """What four steps from step `start` draw: the batch's key and the loss's key."""

  def recording(data, step, rng):
    return {"key": jnp.broadcast_to(jax.random.bits(rng), (4,)), "step": step}

  def loss(params, variables, batch, rng):
    metrics = {"batch": batch["key"][0], "loss_rng": jax.random.bits(rng), "step": batch["step"]}
    return 0.0 * params["b"], (metrics, variables)

  state, data, _, steps = build(optax.sgd(0.0), seed=seed, batches=recording, loss=loss)
  _, metrics = steps(state.replace(step=jnp.asarray(start, jnp.int32)), data, count)
  return {name: np.asarray(metrics[name]) for name in ("batch", "loss_rng", "step")}


def test_what_a_step_draws_is_a_function_of_seed_and_step():
  whole, part, other = drawn(3, 0, 4), drawn(3, 2, 2), drawn(4, 0, 4)
  np.testing.assert_array_equal(whole["step"], [0, 1, 2, 3])
  for name in ("batch", "loss_rng"):
    np.testing.assert_array_equal(whole[name][2:], part[name])
    assert not set(whole[name]) & set(other[name])
  values = [*whole["batch"], *whole["loss_rng"]]
  assert len(set(values)) == len(values)  # Each its own key.


def test_the_memory_of_the_given_state_is_reused():
  state, data, _, steps = build(optax.sgd(0.1))
  after, _ = steps(state, data, 2)
  assert state.params["w"].is_deleted() and not after.params["w"].is_deleted()
  assert not data["x"].is_deleted()


def test_finite_names_the_steps():
  metrics = {
      "loss": jnp.array([1.0, jnp.nan, 1.0, jnp.inf, 2.0]),
      "grad_norm": jnp.array([1.0, 1.0, jnp.inf, jnp.nan, 0.0]),
      "other": jnp.full(5, jnp.nan),
  }
  np.testing.assert_array_equal(steps_lib.finite(metrics), [True, False, False, False, True])
