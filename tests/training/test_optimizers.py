"""Schedules against their formulas, and each optimizer by hand."""

import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from dlx.errors import UserError
from dlx.training import optimizers


def make_config(**changes):
  config = {
      "learning_rate": 0.02, "warmup_steps": 10, "decay": "cosine", "final_fraction": 0.1,
      "b1": 0.9, "b2": 0.99, "weight_decay": 0.5, "clip_norm": 1.0,
  }  # fmt: skip
  return ml_collections.ConfigDict({**config, **changes})


def formula(step, decay, *, peak=0.02, warmup=10, total=110, last=0.1):
  if step < warmup:
    return peak * step / warmup
  done = min(1.0, (step - warmup) / (total - warmup))
  if decay == "cosine":
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))
  return peak * (1 - (1 - last) * done) if decay == "linear" else peak


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_the_schedule_is_its_formula(decay):
  schedule = optimizers.schedule(make_config(decay=decay), 110)
  for step in (0, 1, 5, 9, 10, 11, 35, 60, 109, 110, 200):
    np.testing.assert_allclose(schedule(step), formula(step, decay), rtol=1e-5, atol=1e-9)
  assert schedule(0) == 0.0
  np.testing.assert_allclose(schedule(10), 0.02, rtol=1e-6)
  end = 0.02 if decay == "constant" else 0.002
  np.testing.assert_allclose(schedule(110), end, rtol=1e-5)


def test_without_warmup_the_first_step_is_the_peak():
  schedule = optimizers.schedule(make_config(warmup_steps=0), 100)
  np.testing.assert_allclose(schedule(0), 0.02, rtol=1e-6)
  np.testing.assert_allclose(
      [schedule(s) for s in range(0, 101, 20)],
      [formula(s, "cosine", warmup=0, total=100) for s in range(0, 101, 20)],
      rtol=1e-5,
  )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"decay": "cosin"}, "'cosin'; use cosine, linear or constant"),
        ({"warmup_steps": 100}, "warmup_steps is 100; it must be below .*, 100"),
        ({"warmup_steps": -1}, "warmup_steps is -1"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; it must be above 0"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
    ],
)
def test_what_cannot_be_a_schedule_is_refused(changes, message):
  with pytest.raises(UserError, match=message):
    optimizers.adamw(make_config(**changes), 100)


def test_adamw_is_the_equation_with_clipping_and_undecayed_biases(x64):
  config = make_config(warmup_steps=2)
  optimizer = optimizers.adamw(config, 20)
  rng = np.random.default_rng(0)
  params = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
  moments = {name: [0.0, 0.0] for name in params}
  jax_params = jax.tree.map(jnp.asarray, params)
  state = optimizer.init(jax_params)
  for t in range(6):
    scale = 10.0 if t % 2 else 0.01  # Above the bound and below it.
    grads = {name: scale * rng.normal(size=p.shape) for name, p in params.items()}
    updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, jax_params)
    jax_params = jax.tree.map(jnp.add, jax_params, updates)
    norm = math.sqrt(sum((g**2).sum() for g in grads.values()))
    assert (norm > 1) == (scale == 10.0)
    for name, grad in grads.items():
      grad = grad / max(norm, 1.0)
      m, v = moments[name]
      m, v = 0.9 * m + 0.1 * grad, 0.99 * v + 0.01 * grad**2
      moments[name] = [m, v]
      direction = m / (1 - 0.9 ** (t + 1)) / (np.sqrt(v / (1 - 0.99 ** (t + 1))) + 1e-8)
      if name == "kernel":
        direction = direction + 0.5 * params[name]
      rate = formula(t, "cosine", warmup=2, total=20)
      params[name] = params[name] - rate * direction
      np.testing.assert_allclose(jax_params[name], params[name], rtol=1e-5)


def test_without_a_gradient_kernels_shrink_and_biases_stay():
  optimizer = optimizers.adamw(make_config(warmup_steps=0, decay="constant"), 20)
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(())}
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.02 * 0.5, rtol=1e-6)
  assert not updates["bias"].any() and not updates["scale"].any()


def test_sgd_is_the_equation_of_nesterov_with_a_decayed_kernel(x64):
  config = make_config(warmup_steps=2, momentum=0.8)
  optimizer = optimizers.sgd(config, 20)
  rng = np.random.default_rng(0)
  params = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
  speed = {"kernel": 0.0, "bias": 0.0}
  jax_params = jax.tree.map(jnp.asarray, params)
  state = optimizer.init(jax_params)
  for t in range(6):
    grads = {name: 0.01 * rng.normal(size=p.shape) for name, p in params.items()}
    updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, jax_params)
    jax_params = jax.tree.map(jnp.add, jax_params, updates)
    for name, grad in grads.items():
      grad = grad + 0.5 * params[name] * (name == "kernel")
      speed[name] = 0.8 * speed[name] + grad
      rate = formula(t, "cosine", warmup=2, total=20)
      params[name] = params[name] - rate * (grad + 0.8 * speed[name])
      np.testing.assert_allclose(jax_params[name], params[name], rtol=1e-6)


def test_muon_moves_matrices_by_orthogonal_steps_and_the_rest_by_adam():
  config = make_config(
      warmup_steps=0, decay="constant", weight_decay=0.0, momentum=0.9, adam_learning_rate=0.001,
      clip_norm=math.inf,
  )  # fmt: skip
  optimizer = optimizers.muon(config, 20)
  rng = np.random.default_rng(0)
  params = {"kernel": jnp.ones((3, 3, 4, 8)), "matrix": jnp.ones((6, 6)), "bias": jnp.ones(5)}
  grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
  updates, _ = optimizer.update(grads, optimizer.init(params), params)
  for name, shape in (("kernel", (36, 8)), ("matrix", (6, 6))):
    u, _, v = np.linalg.svd(np.asarray(grads[name]).reshape(shape), full_matrices=False)
    step = -np.asarray(updates[name]).reshape(shape)
    # The iteration takes singular values to between 0.7 and 1.2, not to 1.
    singular = np.linalg.svd(step / np.linalg.norm(step, 2), compute_uv=False)
    assert singular.min() > 0.4, singular
    along = (step * (u @ v)).sum() / np.linalg.norm(step) / np.linalg.norm(u @ v)
    assert along > 0.95
  # NAdam's first step: b m / (1 - b^2) + (1 - b) g / (1 - b) with m = (1 - b) g, b = 0.9.
  first = 0.9 * 0.1 / (1 - 0.9**2) + 1
  np.testing.assert_allclose(updates["bias"], -0.001 * first * np.sign(grads["bias"]), rtol=1e-3)


@pytest.mark.parametrize("make, name", [
    (optimizers.adamw, "b1"), (optimizers.sgd, "momentum"), (optimizers.muon, "momentum"),
])  # fmt: skip
@pytest.mark.parametrize("value", [-0.1, 1.0])
def test_what_is_no_fraction_is_refused(make, name, value):
  config = make_config(momentum=0.9, adam_learning_rate=0.01)
  config[name] = value
  with pytest.raises(UserError, match=f"config.optimizer.{name} is {value}; use 0 <= {name} < 1"):
    make(config, 20)
