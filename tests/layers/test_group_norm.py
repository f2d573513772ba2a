"""Group norm: values, its special cases, precision, dtypes, errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import norm

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def draw(shape, seed=0):
  """(params, x) of unit scale."""
  rng = np.random.default_rng(seed)
  params = {name: jnp.asarray(rng.normal(size=shape[-1])) for name in ("scale", "bias")}
  return params, jnp.asarray(rng.normal(size=shape))


def by_groups(params, x, groups, spatial, eps):
  """Each group of each example by itself."""
  x, width = np.asarray(x), x.shape[-1] // groups
  examples = x.reshape(-1, *x.shape[x.ndim - 1 - spatial :])
  y = np.zeros_like(examples)
  for i, g in np.ndindex(len(examples), groups):
    channels = slice(g * width, (g + 1) * width)
    values = examples[i, ..., channels]
    u = (values - values.mean()) / np.sqrt(((values - values.mean()) ** 2).mean() + eps)
    y[i, ..., channels] = u * params["scale"][channels] + params["bias"][channels]
  return y.reshape(x.shape)


@pytest.mark.sampled(2)
@compiled
@pytest.mark.parametrize("shape, groups, spatial", [
    ((2, 3, 4, 6), 3, 2), ((2, 2, 3, 6), 6, 1), ((2, 4), 2, 0), ((4,), 1, 0)
])  # fmt: skip
def test_each_group_of_each_example_is_normalized_by_itself(
    x64, compile_, shape, groups, spatial
):
  params, x = draw(shape)
  layer = compile_(functools.partial(norm.group_norm, groups=groups, spatial=spatial, eps=0.1))
  expected = by_groups(params, x, groups, spatial, 0.1)
  np.testing.assert_allclose(layer(params, x), expected, rtol=1e-12, atol=1e-14)


@jax.jit
def special_cases(params, x):
  each = [norm.batch_norm(params, norm.init_stats(6), one, train=True)[0] for one in x]
  flat = norm.layer_norm({"scale": jnp.ones(72)}, x.reshape(2, 72)).reshape(x.shape)
  return {
      "layer norm": (
          norm.group_norm(params, x, groups=1, spatial=0), norm.layer_norm(params, x)
      ),
      "instance norm": (norm.group_norm(params, x, groups=6), jnp.stack(each)),
      "an example as one vector": (
          norm.group_norm(params, x, groups=1), flat * params["scale"] + params["bias"]
      ),
      "vmap": (
          jax.vmap(lambda x: norm.group_norm(params, x, groups=2))(x),
          norm.group_norm(params, x, groups=2),
      ),
  }  # fmt: skip


def test_layer_norm_and_instance_norm_are_special_cases(x64):
  for found, expected in special_cases(*draw((2, 3, 4, 6))).values():
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("groups", [1, 3, 6])
def test_values_match_flax(x64, groups):
  params, x = draw((2, 3, 4, 6))
  flax = nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, param_dtype=jnp.float64)
  np.testing.assert_allclose(
      norm.group_norm(params, x, groups=groups), flax.apply({"params": params}, x), rtol=1e-10
  )


def test_means_by_matmul_on_cpu_and_by_sums_elsewhere_agree(x64):
  params, x = draw((2, 3, 4, 6))

  @jax.jit
  def both(params, x):
    y, vjp = jax.vjp(functools.partial(norm.group_norm, groups=3), params, x)
    return y, vjp(x)

  by_products = both(params, x)
  with platform.lowering_for("gpu"):
    by_sums = both(params, x)
    assert "dot" not in str(jax.make_jaxpr(both)(params, x))
  for a, b in zip(*map(jax.tree.leaves, (by_sums, by_products))):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@compiled
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_equal_values_give_the_bias_for_any_offset(compile_, offset):
  params = {"scale": jnp.full(4, 2.0), "bias": jnp.array([1.0, 2.0, 3.0, 4.0])}
  x = jnp.full((3, 5, 7, 4), offset + 0.1)
  y = compile_(functools.partial(norm.group_norm, groups=2))(params, x)
  np.testing.assert_array_equal(y, np.broadcast_to(params["bias"], x.shape))


@compiled
def test_a_huge_offset_of_a_group_does_not_affect_its_precision(compile_):
  # 2^20 plus multiples of 1/8 is exact, so any error is the layer's.
  steps = np.random.default_rng(0).integers(-20, 21, size=(16, 8, 8, 4)) / 8
  offset = 2.0**20 * np.array([1, 1, -1, -1])
  params = norm.init(jax.random.key(0), 4)
  run = compile_(functools.partial(norm.group_norm, groups=2))
  y = run(params, jnp.asarray(offset + steps, jnp.float32))
  # The mean itself rounds to a multiple of 1/16.
  np.testing.assert_allclose(y, run(params, jnp.asarray(steps, jnp.float32)), atol=0.05)


def test_sums_over_a_large_image_do_not_accumulate_rounding_errors():
  x = np.random.default_rng(0).normal(size=(1, 256, 256, 2)).astype(np.float32)
  y = jax.jit(functools.partial(norm.group_norm, groups=1))(norm.init(None, 2), x)
  wide = x.astype(np.float64)
  expected = (wide - wide.mean()) / np.sqrt(wide.var() + 1e-5)
  np.testing.assert_allclose(y, expected, atol=2e-6)


def test_it_is_invariant_to_shifts_and_factors_of_a_group(x64):
  params, x = draw((2, 3, 4, 6))
  layer = jax.jit(functools.partial(norm.group_norm, params, groups=3, eps=0))
  changed = x * jnp.array([2.0, 2, 5, 5, 1, 1]) + jnp.array([7.0, 7, 0, 0, -3, -3])
  np.testing.assert_allclose(layer(changed), layer(x), rtol=1e-9, atol=1e-12)
  assert np.abs(layer(x + jnp.arange(6.0)) - layer(x)).max() > 0.1


def test_without_a_bias_only_the_scale_is_applied(x64):
  params, x = draw((2, 3, 4, 6))
  without = norm.group_norm({"scale": params["scale"]}, x, groups=2)
  np.testing.assert_allclose(
      without + params["bias"], norm.group_norm(params, x, groups=2), atol=1e-14
  )


def test_bfloat16_stays_and_is_computed_in_float32():
  x = (draw((4, 8, 8, 4))[1] + 3).astype(jnp.bfloat16)
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), norm.init(None, 4))
  y = norm.group_norm(params, x, groups=2)
  assert y.dtype == jnp.bfloat16
  wide = norm.group_norm(params, x.astype(jnp.float32), groups=2)
  np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=2.0**-8)


@pytest.mark.parametrize("shape", [(0, 2, 3, 4), (2, 0, 3, 4), (0, 0, 4)])
def test_an_empty_batch_or_image_stays_empty(shape):
  params, x = norm.init(None, 4), jnp.zeros(shape)
  layer = jax.jit(functools.partial(norm.group_norm, groups=2))
  assert layer(params, x).shape == shape
  d_params = jax.jit(jax.grad(lambda params: layer(params, x).sum()))(params)
  for leaf in jax.tree.leaves(d_params):
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": jnp.zeros((2, 2, 3))}, r"x: expected a last dimension of 4, got shape \(2, 2, 3\)"),
        ({"x": jnp.zeros((2, 4))}, r"x: expected shape \(\.\.\., C\) with 2 dimensions before C"),
        ({"groups": 3}, "groups: expected a divisor of 4 channels, got 3"),
        ({"groups": 0}, "groups: expected a divisor of 4 channels, got 0"),
        ({"groups": 2.0}, "groups: expected a divisor of 4 channels, got 2.0"),
        ({"spatial": -1}, "spatial: expected an int of at least 0, got -1"),
        ({"params": {"bias": jnp.zeros(4)}}, "params: expected scale; scale is missing"),
        ({"implementation": "fast"}, 'implementation: expected "auto" or "autodiff", got'),
    ],
)
def test_bad_input_is_named(changes, message):
  arguments = {"params": norm.init(None, 4), "x": jnp.zeros((2, 3, 4)), "groups": 2}
  with pytest.raises(ValueError, match=message):
    norm.group_norm(**(arguments | changes))
