"""A step equals one written in numpy, and steps in one call equal single steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from dlx.experiment import Loss
from dlx.training import sharding
from dlx.training import state as states
from dlx.training import step as steps_lib

XS = np.random.default_rng(0).normal(size=(16, 3))
YS = XS @ np.array([1.0, -2.0, 0.5]) + 0.3


def loss_fn(variables, batch, rng):
  params = variables["params"]
  error = batch["x"] @ params["w"] + params["b"] - batch["y"]
  metrics = {"largest": jnp.abs(error).max()}
  seen = variables["seen"] + batch["x"].shape[0]
  return Loss(0.5 * jnp.mean(error**2), metrics, {"seen": seen})


def batch_fn(data, step, rngs):
  rows = (jnp.arange(4) + 4 * step) % 16
  return {"x": data["x"][rows], "y": data["y"][rows], "step": step}


def random_batch_fn(data, step, rngs):
  rows = jax.random.randint(rngs.step, (4,), 0, 16)
  return {"x": data["x"][rows], "y": data["y"][rows]}


def build(
    optimizer, *, seed=0, ema_decay=None, batches=batch_fn, loss=loss_fn, max_count=None
):
  """(state, data, step, steps) in the precision of the test."""
  data = {"x": jnp.asarray(XS), "y": jnp.asarray(YS)}
  params = {"w": jnp.asarray([0.1, 0.2, -0.3]), "b": jnp.asarray(0.0)}
  variables = {"params": params, "seen": jnp.zeros((), jnp.int32)}
  state = states.create(variables, optimizer, averaged=ema_decay is not None)
  mesh = sharding.make_mesh()
  step = steps_lib.make_step(
      loss, batches, optimizer, seed=seed, mesh=mesh, ema_decay=ema_decay
  )
  return state, data, step, steps_lib.make_steps(step, mesh, max_count=max_count)


def gradient_by_hand(w, b, step):
  rows = (np.arange(4) + 4 * step) % 16
  error = XS[rows] @ w + b - YS[rows]
  return 0.5 * np.mean(error**2), XS[rows].T @ error / 4, error.mean(), np.abs(error).max()


def test_steps_of_sgd_equal_those_in_numpy(x64):
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
    np.testing.assert_allclose(state.ema["w"], average, rtol=1e-6)  # The decay is a float32.
    assert int(state.step) == t + 1 and int(state.collections["seen"]) == 4 * (t + 1)


def test_steps_of_adam_equal_those_in_numpy(x64):
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


@pytest.mark.sampled(2)
@pytest.mark.parametrize("max_count", [None, 6])
@pytest.mark.parametrize("calls", [[6], [1] * 6, [4, 2]])
def test_steps_in_one_call_equal_single_steps(x64, calls, max_count):
  parts = {"ema_decay": 0.9, "batches": random_batch_fn}
  state, data, step, _ = build(optax.adamw(0.1), **parts)
  expected_metrics, one = [], jax.jit(step)
  for _ in range(6):
    state, metrics = one(state, data)
    expected_metrics.append(metrics)
  other, data, _, steps = build(optax.adamw(0.1), max_count=max_count, **parts)
  other, data = sharding.put_replicated((other, data), sharding.make_mesh())
  found = []
  for count in calls:
    other, metrics = steps(other, data, np.int32(count) if max_count else count)
    assert all(value.shape == (max_count or count,) for value in metrics.values())
    found.append({name: value[:count] for name, value in metrics.items()})
  if max_count:
    assert steps._cache_size() == 1  # One program for all counts.
  for name in ("loss", "grad_norm", "largest"):
    np.testing.assert_allclose(
        np.concatenate([m[name] for m in found]), [m[name] for m in expected_metrics], rtol=1e-12
    )
  jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-6), other.ema, state.ema)
  other, state = other.replace(ema=None), state.replace(ema=None)
  for x, y in zip(jax.tree.leaves(other), jax.tree.leaves(state)):
    np.testing.assert_allclose(x, y, rtol=1e-12)


def keys_of_steps(seed, start, count):
  """Bits of the keys of `count` steps from step `start`: of the batch, of the loss, of the run."""

  def batch_fn(data, step, rngs):
    bits = {name: jax.random.bits(rng) for name, rng in rngs._asdict().items()}
    return {name: jnp.broadcast_to(value, (4,)) for name, value in bits.items()} | {"index": step}

  def loss_fn(variables, batch, rng):
    metrics = {"batch": batch["step"][0], "run": batch["run"][0], "index": batch["index"]}
    return Loss(0.0 * variables["params"]["b"], {**metrics, "loss_rng": jax.random.bits(rng)})

  state, data, _, steps = build(optax.sgd(0.0), seed=seed, batches=batch_fn, loss=loss_fn)
  _, metrics = steps(state.replace(step=jnp.asarray(start, jnp.int32)), data, count)
  return {name: np.asarray(metrics[name]) for name in ("batch", "run", "index", "loss_rng")}


def test_the_keys_of_a_step_are_a_function_of_seed_and_step():
  all_steps, later, other = keys_of_steps(3, 0, 4), keys_of_steps(3, 2, 2), keys_of_steps(4, 0, 4)
  np.testing.assert_array_equal(all_steps["index"], [0, 1, 2, 3])
  for name in ("batch", "loss_rng", "run"):
    np.testing.assert_array_equal(all_steps[name][2:], later[name])
    assert not set(all_steps[name]) & set(other[name])
  values = [*all_steps["batch"], *all_steps["loss_rng"], all_steps["run"][0]]
  assert len(set(values)) == len(values)  # All keys differ,
  assert len(set(all_steps["run"])) == 1  # but that of the run is the same in every step.


def test_an_update_of_an_unknown_collection_is_refused():
  def loss(variables, batch, rng):
    return Loss(variables["params"]["b"], updated={"sene": jnp.zeros(())})

  state, data, step, _ = build(optax.sgd(0.1), loss=loss)
  with pytest.raises(ValueError, match=r"loss_fn: updates \['sene'\], which init_fn did not"):
    jax.eval_shape(step, state, data)


def test_the_memory_of_the_given_state_is_donated():
  state, data, _, steps = build(optax.sgd(0.1))
  after, _ = steps(state, data, 2)
  assert state.params["w"].is_deleted() and not after.params["w"].is_deleted()
  assert not data["x"].is_deleted()


def test_is_finite_is_per_step():
  metrics = {
      "loss": jnp.array([1.0, jnp.nan, 1.0, jnp.inf, 2.0]),
      "grad_norm": jnp.array([1.0, 1.0, jnp.inf, jnp.nan, 0.0]),
      "other": jnp.full(5, jnp.nan),
  }
  np.testing.assert_array_equal(steps_lib.is_finite(metrics), [True, False, False, False, True])
