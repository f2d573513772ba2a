"""Layer norm, RMS norm, batch norm: values, statistics, edge cases, dtypes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import norm

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
VECTOR_NORMS = [norm.layer_norm, norm.rms_norm]


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def draw_params(d, seed=1):
  scale, bias = draw((d,), (d,), seed=seed)
  return {"scale": scale, "bias": bias}


def normalized(values, eps, center=True):
  """Normalizes one group of numbers in plain Python."""
  mean = sum(values) / len(values) if center else 0.0
  var = sum((x - mean) ** 2 for x in values) / len(values)
  return [(x - mean) / (var + eps) ** 0.5 for x in values]


@compiled
@pytest.mark.parametrize("layer", VECTOR_NORMS)
def test_each_vector_is_normalized_independently(x64, compile_, layer):
  params, [x] = draw_params(4), draw((2, 3, 4))
  y = compile_(lambda *args: layer(*args, eps=0.1))(params, x)
  rows = [normalized(row, 0.1, layer is norm.layer_norm) for row in np.asarray(x).reshape(6, 4)]
  expected = np.array(rows) * params["scale"] + params["bias"]
  np.testing.assert_allclose(y, expected.reshape(2, 3, 4), rtol=1e-12, atol=1e-14)
  np.testing.assert_allclose(
      jax.vmap(lambda x: layer(params, x, eps=0.1))(x), y, rtol=1e-12, atol=1e-14
  )


@pytest.mark.parametrize("layer", VECTOR_NORMS)
def test_means_by_matmul_on_cpu_and_by_sums_elsewhere_agree(x64, layer):
  params, [x] = draw_params(4), draw((2, 3, 4))
  by_products, vjp = jax.vjp(layer, params, x)
  with platform.lowering_for("gpu"):
    by_sums, vjp_by_sums = jax.vjp(layer, params, x)
    cotangents = vjp_by_sums(x)
    assert "dot" not in str(jax.make_jaxpr(layer)(params, x))
  np.testing.assert_allclose(by_sums, by_products, rtol=1e-12, atol=1e-14)
  for a, b in zip(*map(jax.tree.leaves, (cotangents, vjp(x)))):
    np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)


@compiled
@pytest.mark.parametrize("shape", [(6, 3), (2, 3, 3), (3,)])
def test_batch_norm_reduces_all_dimensions_except_the_last(x64, compile_, shape):
  params, [x] = draw_params(3), draw(shape)
  stats = {"mean": jnp.array([1.0, 2.0, 3.0]), "var": jnp.array([0.5, 1.0, 2.0])}
  y, new = compile_(
      lambda *args: norm.batch_norm(*args, train=True, momentum=0.75, eps=0.1)
  )(params, stats, x)
  flat = np.asarray(x).reshape(-1, 3)
  columns = np.array([normalized(column, 0.1) for column in flat.T]).T
  expected = columns * params["scale"] + params["bias"]
  np.testing.assert_allclose(y, expected.reshape(shape), rtol=1e-12, atol=1e-14)
  biased = ((flat - flat.mean(0)) ** 2).sum(0) / len(flat)
  np.testing.assert_allclose(new["mean"], 0.75 * stats["mean"] + 0.25 * flat.mean(0), rtol=1e-12)
  np.testing.assert_allclose(new["var"], 0.75 * stats["var"] + 0.25 * biased, rtol=1e-12)


@compiled
def test_batch_norm_in_evaluation_uses_the_running_statistics_unchanged(x64, compile_):
  params, [x, mean] = draw_params(3), draw((4, 3), (3,))
  stats = {"mean": mean, "var": jnp.array([0.5, 0.0, 2.0])}
  y, new = compile_(lambda *args: norm.batch_norm(*args, train=False, eps=0.1))(params, stats, x)
  u = (np.asarray(x) - mean) / np.sqrt(np.asarray(stats["var"]) + 0.1)
  np.testing.assert_allclose(y, u * params["scale"] + params["bias"], rtol=1e-12)
  for name in stats:
    np.testing.assert_array_equal(new[name], stats[name])


def test_running_statistics_converge_to_those_of_the_data():
  x = 3 + 2 * jax.random.normal(jax.random.key(0), (1000, 2))
  params, stats = norm.init(jax.random.key(0), 2), norm.init_stats(2)
  step = jax.jit(lambda stats: norm.batch_norm(params, stats, x, train=True, momentum=0.5)[1])
  for _ in range(30):
    stats = step(stats)
  np.testing.assert_allclose(stats["mean"], x.mean(0), rtol=1e-4)
  np.testing.assert_allclose(stats["var"], x.var(0), rtol=1e-4)
  trained, _ = norm.batch_norm(params, stats, x, train=True)
  evaluated, _ = norm.batch_norm(params, stats, x, train=False)
  np.testing.assert_allclose(evaluated, trained, atol=1e-3)


@compiled
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_equal_values_give_the_bias_for_any_offset(compile_, offset):
  # A mean with a rounding error would be divided by a deviation of the same size.
  params = {"scale": jnp.full(3, 2.0), "bias": jnp.array([1.0, 2.0, 3.0])}
  x = jnp.full((5, 7, 3), offset + 0.1)
  expected = np.broadcast_to(params["bias"], x.shape)
  np.testing.assert_array_equal(compile_(norm.layer_norm)(params, x), expected)
  train = compile_(lambda *args: norm.batch_norm(*args, train=True, momentum=0.0))
  y, stats = train(params, norm.init_stats(3), x)
  np.testing.assert_array_equal(y, expected)
  np.testing.assert_array_equal(stats["mean"], x[0, 0])
  np.testing.assert_array_equal(stats["var"], np.zeros(3))


@compiled
def test_a_huge_offset_does_not_affect_the_precision_of_the_variance(compile_):
  # 2^20 plus multiples of 1/8 is exact, so any error is the layer's.
  steps = np.random.default_rng(0).integers(-20, 21, size=(64, 8, 8, 4)) / 8
  x = jnp.asarray(2.0**20 + steps, jnp.float32)
  assert np.array_equal(np.asarray(x, np.float64) - 2.0**20, steps)
  train = compile_(lambda *args: norm.batch_norm(*args, train=True, momentum=0.0))
  params = norm.init(jax.random.key(0), 4)
  y, stats = train(params, norm.init_stats(4), x)
  flat = steps.reshape(-1, 4)
  # The mean itself rounds to a multiple of 1/16 in float32.
  np.testing.assert_allclose(stats["mean"] - 2.0**20, flat.mean(0), atol=1 / 16)
  np.testing.assert_allclose(stats["var"], flat.var(0), rtol=2e-3)
  np.testing.assert_allclose(y, (steps - flat.mean(0)) / flat.std(0), atol=0.05)
  rows = compile_(norm.layer_norm)(params, x)
  mean, std = steps.mean(-1, keepdims=True), np.sqrt(steps.var(-1, keepdims=True) + 1e-5)
  np.testing.assert_allclose(rows * std, steps - mean, atol=0.1)


def test_sums_over_a_large_batch_do_not_accumulate_rounding_errors():
  # Summed sequentially in float32, these have a variance with an error of 5e-6.
  x = np.random.default_rng(0).normal(size=(128, 32, 32, 4)).astype(np.float32)
  params = norm.init(jax.random.key(0), 4)
  _, stats = jax.jit(lambda *args: norm.batch_norm(*args, train=True, momentum=0.0))(
      params, norm.init_stats(4), x
  )
  flat = x.reshape(-1, 4).astype(np.float64)
  np.testing.assert_allclose(stats["mean"], flat.mean(0), atol=1e-7)
  np.testing.assert_allclose(stats["var"], flat.var(0), rtol=5e-7)


def test_layer_norm_is_shift_invariant_and_rms_norm_scale_invariant(x64):
  params, [x] = draw_params(5), draw((3, 5))
  np.testing.assert_allclose(
      norm.layer_norm(params, x + 7, eps=0), norm.layer_norm(params, x, eps=0), rtol=1e-10
  )
  np.testing.assert_allclose(
      norm.rms_norm(params, 7 * x, eps=0), norm.rms_norm(params, x, eps=0), rtol=1e-12
  )
  assert np.abs(norm.rms_norm(params, x + 7) - norm.rms_norm(params, x)).max() > 0.1


@compiled
def test_zeros_and_a_single_entry_stay_finite(compile_):
  params = norm.init(jax.random.key(0), 1)
  for layer in VECTOR_NORMS:
    np.testing.assert_array_equal(compile_(layer)(params, jnp.zeros((2, 1))), 0)
  np.testing.assert_array_equal(compile_(norm.layer_norm)(params, jnp.full((2, 1), 5.0)), 0)


def test_init_does_not_change_normalized_inputs():
  params = norm.init(jax.random.key(0), 3)
  assert {name: value.tolist() for name, value in params.items()} == {
      "scale": [1, 1, 1],
      "bias": [0, 0, 0],
  }
  stats = norm.init_stats(3)
  assert {name: value.tolist() for name, value in stats.items()} == {
      "mean": [0, 0, 0],
      "var": [1, 1, 1],
  }


def test_without_a_bias_only_the_scale_is_applied(x64):
  params, [x] = draw_params(4), draw((3, 4))
  scale = {"scale": params["scale"]}
  assert set(norm.init(jax.random.key(0), 4, bias=False)) == {"scale"}
  for layer in VECTOR_NORMS:
    with_bias = layer(params, x)
    np.testing.assert_allclose(layer(scale, x) + params["bias"], with_bias, atol=1e-14)
  y, _ = norm.batch_norm(scale, norm.init_stats(4), x, train=True)
  with_bias, _ = norm.batch_norm(params, norm.init_stats(4), x, train=True)
  np.testing.assert_allclose(y + params["bias"], with_bias, atol=1e-14)


@pytest.mark.parametrize("train", [True, False])
def test_bfloat16_stays_and_is_computed_in_float32(train):
  [x] = draw((64, 8))
  x = (x + 3).astype(jnp.bfloat16)
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), norm.init(jax.random.key(0), 8))
  stats = {"mean": jnp.full(8, 3.001), "var": jnp.ones(8)}  # 3.001 is not a bfloat16 number.
  for function in (
      lambda x: norm.layer_norm(params, x),
      lambda x: norm.rms_norm(params, x),
      lambda x: norm.batch_norm(params, stats, x, train=train)[0],
  ):
    y = function(x)
    assert y.dtype == jnp.bfloat16
    wide = function(x.astype(jnp.float32))
    # One rounding of the result, to eight binary digits.
    np.testing.assert_allclose(y.astype(jnp.float32), wide, rtol=2.0**-8)
  _, new = norm.batch_norm(params, stats, x, train=train)
  assert {value.dtype for value in new.values()} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("layer", VECTOR_NORMS)
def test_bad_input_is_named(layer):
  params = norm.init(jax.random.key(0), 3)
  with pytest.raises(ValueError, match="x: expected a last dimension of 3, got shape"):
    layer(params, jnp.zeros((2, 4)))
  with pytest.raises(ValueError, match='implementation: expected "auto" or "autodiff", got'):
    layer(params, jnp.zeros((2, 3)), implementation="fast")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"x": jnp.zeros((2, 4))}, r"x: expected a last dimension of 3, got shape \(2, 4\)"),
        ({"x": jnp.zeros((0, 3))}, r"x: expected at least one example, got shape \(0, 3\)"),
        ({"stats": norm.init_stats(1)}, r"stats\['mean'\]: expected shape \(3,\), got \(1,\)"),
        ({"implementation": "fast"}, 'implementation: expected "auto" or "autodiff", got'),
    ],
)
def test_bad_input_of_batch_norm_is_named(changes, message):
  arguments = {
      "params": norm.init(jax.random.key(0), 3),
      "stats": norm.init_stats(3),
      "x": jnp.zeros((2, 3)),
      "train": True,
  }
  with pytest.raises(ValueError, match=message):
    norm.batch_norm(**(arguments | changes))
