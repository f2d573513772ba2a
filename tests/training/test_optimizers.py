"""Schedules equal their formulas, and the optimizers their equations."""

import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

from dlx import platform
from dlx.training import optimizers

SCHEDULE = {
    "learning_rate": 0.02, "warmup_steps": 10, "decay": "cosine", "end_lr_fraction": 0.1,
    "total_steps": 110,
}  # fmt: skip


def formula(step, decay, *, peak=0.02, warmup=10, total=110, last=0.1):
  if step < warmup:
    return peak * step / warmup
  done = min(1.0, (step - warmup) / (total - warmup))
  if decay == "cosine":
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))
  return peak * (1 - (1 - last) * done) if decay == "linear" else peak


@pytest.mark.parametrize("decay", ["cosine", "linear", "constant"])
def test_the_schedule_equals_its_formula(decay):
  schedule = optimizers.schedule(**{**SCHEDULE, "decay": decay})
  for step in (0, 1, 5, 9, 10, 11, 35, 60, 109, 110, 200):
    np.testing.assert_allclose(schedule(step), formula(step, decay), rtol=1e-5, atol=1e-9)
  assert schedule(0) == 0.0
  np.testing.assert_allclose(schedule(10), 0.02, rtol=1e-6)
  end = 0.02 if decay == "constant" else 0.002
  np.testing.assert_allclose(schedule(110), end, rtol=1e-5)


def test_without_warmup_the_first_step_has_the_peak_rate():
  schedule = optimizers.schedule(**{**SCHEDULE, "warmup_steps": 0, "total_steps": 100})
  np.testing.assert_allclose(schedule(0), 0.02, rtol=1e-6)
  np.testing.assert_allclose(
      [schedule(s) for s in range(0, 101, 20)],
      [formula(s, "cosine", warmup=0, total=100) for s in range(0, 101, 20)],
      rtol=1e-5,
  )


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"decay": "cosin"}, "decay: expected cosine, linear or constant, got 'cosin'"),
        ({"warmup_steps": 110}, "warmup_steps: expected 0 <= .* < total_steps = 110, got 110"),
        ({"warmup_steps": -1}, "warmup_steps: expected .*, got -1"),
    ],
)
def test_invalid_schedules_are_refused(changes, message):
  with pytest.raises(ValueError, match=message):
    optimizers.schedule(**{**SCHEDULE, **changes})


def test_adamw_equals_its_equation_with_clipping_and_without_decay_of_biases(x64):
  schedule = {**SCHEDULE, "warmup_steps": 2, "total_steps": 20}
  optimizer = optimizers.adamw(b1=0.9, b2=0.99, weight_decay=0.5, clip_norm=1.0, **schedule)
  rng = np.random.default_rng(0)
  params = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
  moments = {name: [0.0, 0.0] for name in params}
  jax_params = jax.tree.map(jnp.asarray, params)
  state = optimizer.init(jax_params)
  for t in range(6):
    scale = 10.0 if t % 2 else 0.01  # Above clip_norm and below it.
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


def test_without_a_gradient_kernels_decay_and_biases_do_not():
  optimizer = optimizers.adamw(learning_rate=0.02, total_steps=20, weight_decay=0.5)
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2), "scale": jnp.ones(())}
  zeros = jax.tree.map(jnp.zeros_like, params)
  updates, _ = optimizer.update(zeros, optimizer.init(params), params)
  np.testing.assert_allclose(updates["kernel"], -0.02 * 0.5, rtol=1e-6)
  assert not updates["bias"].any() and not updates["scale"].any()


def test_sgd_equals_its_equation_with_nesterov_momentum_and_decayed_kernels(x64):
  schedule = {**SCHEDULE, "warmup_steps": 2, "total_steps": 20}
  optimizer = optimizers.sgd(momentum=0.8, weight_decay=0.5, clip_norm=1.0, **schedule)
  rng = np.random.default_rng(0)
  params = {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)}
  momentum = {"kernel": 0.0, "bias": 0.0}
  jax_params = jax.tree.map(jnp.asarray, params)
  state = optimizer.init(jax_params)
  for t in range(6):
    grads = {name: 0.01 * rng.normal(size=p.shape) for name, p in params.items()}
    updates, state = optimizer.update(jax.tree.map(jnp.asarray, grads), state, jax_params)
    jax_params = jax.tree.map(jnp.add, jax_params, updates)
    for name, grad in grads.items():
      grad = grad + 0.5 * params[name] * (name == "kernel")
      momentum[name] = 0.8 * momentum[name] + grad
      rate = formula(t, "cosine", warmup=2, total=20)
      params[name] = params[name] - rate * (grad + 0.8 * momentum[name])
      np.testing.assert_allclose(jax_params[name], params[name], rtol=1e-6)


@pytest.mark.parametrize("clip_norm, factor", [(None, 1.0), (20.0, 1.0), (2.0, 0.2)])
def test_gradients_are_clipped_to_the_norm_if_there_is_one(clip_norm, factor):
  optimizer = optimizers.sgd(
      learning_rate=1.0, total_steps=2, momentum=0.0, clip_norm=clip_norm
  )
  grads = {"w": jnp.array([6.0, 8.0])}
  updates, _ = optimizer.update(grads, optimizer.init(grads), grads)
  np.testing.assert_allclose(updates["w"], -factor * grads["w"], rtol=1e-6)


@pytest.mark.full
def test_muon_orthogonalizes_updates_of_matrices_and_uses_adam_for_the_rest():
  optimizer = optimizers.muon(
      learning_rate=0.02, total_steps=20, weight_decay=0.0, momentum=0.9, adam_learning_rate=0.001
  )
  rng = np.random.default_rng(0)
  params = {"kernel": jnp.ones((3, 3, 4, 8)), "matrix": jnp.ones((6, 6)), "bias": jnp.ones(5)}
  grads = jax.tree.map(lambda p: jnp.asarray(rng.normal(size=p.shape), jnp.float32), params)
  updates, _ = optimizer.update(grads, optimizer.init(params), params)
  for name, shape in (("kernel", (36, 8)), ("matrix", (6, 6))):
    u, _, v = np.linalg.svd(np.asarray(grads[name]).reshape(shape), full_matrices=False)
    step = -np.asarray(updates[name]).reshape(shape)
    # The iteration brings singular values to between 0.7 and 1.2, not to 1.
    singular = np.linalg.svd(step / np.linalg.norm(step, 2), compute_uv=False)
    assert singular.min() > 0.4, singular
    along = (step * (u @ v)).sum() / np.linalg.norm(step) / np.linalg.norm(u @ v)
    assert along > 0.95
  # NAdam's first step: b m / (1 - b^2) + (1 - b) g / (1 - b) with m = (1 - b) g, b = 0.9.
  first = 0.9 * 0.1 / (1 - 0.9**2) + 1
  np.testing.assert_allclose(updates["bias"], -0.001 * first * np.sign(grads["bias"]), rtol=1e-3)


@pytest.mark.parametrize("name, options", [
    ("adamw", {"b1": 0.8, "b2": 0.95}),
    ("sgd", {"momentum": 0.8}),
    ("muon", {"momentum": 0.8, "adam_learning_rate": 0.01}),
])  # fmt: skip
def test_make_builds_the_optimizer_of_a_config(name, options):
  rates = {"learning_rate": 0.1, "weight_decay": 0.01, "clip_norm": 1.0, "decay": "linear"}
  config = ml_collections.ConfigDict({"name": name, **rates, **options})
  expected = getattr(optimizers, name)(total_steps=20, **rates, **options)
  params = {"kernel": jnp.arange(6.0).reshape(2, 3), "bias": jnp.ones(3)}
  grads = jax.tree.map(jnp.cos, params)
  found = optimizers.make(config, 20)
  (ours, _), (theirs, _) = (o.update(grads, o.init(params), params) for o in (found, expected))
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_an_optimizer_without_a_name_is_adamw():
  params = {"w": jnp.ones(3)}
  grads = {"w": jnp.arange(3.0)}
  named, unnamed = (
      optimizers.make(ml_collections.ConfigDict({"learning_rate": 0.1, "b2": 0.9, **name}), 9)
      for name in ({"name": "adamw"}, {})
  )
  (ours, _), (theirs, _) = (o.update(grads, o.init(params), params) for o in (unnamed, named))
  np.testing.assert_array_equal(ours["w"], theirs["w"])


@pytest.mark.sampled(2)
@pytest.mark.parametrize("platform_name", ["cpu", "gpu"])  # The two forms of the sum.
@pytest.mark.parametrize("jitted", [False, True])
def test_the_global_norm_is_that_of_all_leaves_as_one_vector(platform_name, jitted):
  rng = np.random.default_rng(0)
  leaves = [
      rng.normal(size=(3, 3, 5, 7)), rng.normal(size=(400, 784)), rng.normal(size=9), 2.5,
      rng.normal(size=(0, 4)),
  ]  # fmt: skip
  tree = [jnp.asarray(leaf, jnp.float32) for leaf in leaves]
  vector = np.concatenate([np.ravel(leaf).astype(np.float64) for leaf in map(np.asarray, tree)])
  norm = jax.jit(optimizers.global_norm) if jitted else optimizers.global_norm
  with platform.lowering_for(platform_name):
    np.testing.assert_allclose(norm(tree), np.sqrt(vector @ vector), rtol=2e-6)
    # In bfloat16 the sum of so many squares would stop at 256.
    ones = {"half": jnp.ones((300, 300), jnp.bfloat16)}
    np.testing.assert_allclose(norm(ones), 300.0, rtol=1e-6)
    assert norm({}) == 0 and np.isnan(norm([tree[0], jnp.array(jnp.nan)]))
