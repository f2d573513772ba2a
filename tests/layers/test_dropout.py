"""Dropout: rates, scaling, independence, shared masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers.dropout import dropout


def test_rate_zero_is_the_identity():
  x = jnp.asarray([1.5, -2.0, jnp.inf])
  np.testing.assert_array_equal(dropout(jax.random.key(0), x, rate=0), x)
  np.testing.assert_array_equal(dropout(jax.random.key(0), x, rate=0.0), x)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_a_unit_is_zero_or_scaled_by_one_over_one_minus_rate(x64, compile_):
  x = np.random.default_rng(0).normal(size=(20, 30))
  y = compile_(lambda key, x: dropout(key, x, rate=0.3))(jax.random.key(0), jnp.asarray(x))
  kept = np.asarray(y) != 0
  assert 0 < kept.sum() < kept.size
  np.testing.assert_allclose(y, np.where(kept, x / 0.7, 0), rtol=1e-12)


@pytest.mark.parametrize("rate", [0.0005, 0.1, 0.5, 0.9, 0.9995])
def test_the_fraction_dropped_is_the_rate_and_the_mean_is_kept(rate):
  count = 100_000
  y = np.asarray(dropout(jax.random.key(3), jnp.ones(count), rate=rate), np.float64)
  # Five standard deviations of a mean of `count` Bernoulli draws.
  bound = 5 * (rate * (1 - rate) / count) ** 0.5
  assert abs((y == 0).mean() - rate) < bound
  assert abs(y.mean() - 1) < bound / (1 - rate)


def test_units_and_keys_are_independent():
  x = jnp.ones((1000, 2))
  kept, other = (np.asarray(dropout(jax.random.key(k), x, rate=0.5)) != 0 for k in (0, 1))
  # Independent fair coins agree in 500 of 1,000 positions, with a standard deviation of 16.
  assert abs((kept[:, 0] == kept[:, 1]).mean() - 0.5) < 0.08
  assert abs((kept == other).mean() - 0.5) < 0.08


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 0), (2, 5, 1)])
def test_any_shape_has_a_mask(shape):
  masks = [dropout(jax.random.key(k), jnp.ones(shape), rate=0.5) for k in range(20)]
  assert all(mask.shape == shape for mask in masks)
  assert {float(value) for mask in masks for value in np.ravel(mask)} <= {0.0, 2.0}
  assert len({np.asarray(mask).tobytes() for mask in masks}) > 1 or not np.prod(shape)


def test_equal_keys_give_equal_masks():
  first, second = (dropout(jax.random.key(7), jnp.ones(100), rate=0.5) for _ in range(2))
  np.testing.assert_array_equal(first, second)


def test_broadcast_dims_share_one_mask_along_time():
  x = jnp.arange(1.0, 1.0 + 4 * 7 * 25).reshape(4, 7, 25)
  y = np.asarray(dropout(jax.random.key(0), x, rate=0.5, broadcast_dims=(-2,)))
  kept = y != 0
  np.testing.assert_array_equal(kept, np.broadcast_to(kept[:, :1], kept.shape))
  np.testing.assert_allclose(y, np.where(kept, 2 * x, 0))
  assert len({tuple(row) for row in kept[:, 0]}) == 4, "sequences must not share a mask"
  assert 0 < kept[:, 0].mean() < 1


def test_broadcast_dims_may_be_several_and_positive():
  x = jnp.ones((3, 5, 64))
  kept = np.asarray(dropout(jax.random.key(0), x, rate=0.5, broadcast_dims=(0, 1)))
  np.testing.assert_array_equal(kept, np.broadcast_to(kept[0, 0], kept.shape))
  assert 0 < (kept[0, 0] != 0).mean() < 1


def test_the_gradient_is_the_mask_itself():
  x = jnp.ones((40, 5))
  y, vjp = jax.vjp(lambda x: dropout(jax.random.key(0), x, rate=0.25), x)
  d_y = jnp.arange(200.0).reshape(40, 5)
  expected = np.where(np.asarray(y) != 0, d_y / 0.75, 0)
  np.testing.assert_allclose(vjp(d_y)[0], expected, rtol=1e-6)
  assert not np.all(np.asarray(y))


def test_a_dropped_unit_is_zero_even_if_it_is_nan():
  key = jax.random.key(0)
  kept = np.asarray(dropout(key, jnp.ones(50), rate=0.5)) != 0
  y = dropout(key, jnp.where(kept, 1.0, jnp.nan), rate=0.5)
  np.testing.assert_array_equal(y, np.where(kept, 2.0, 0.0))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_dtype_is_that_of_x(dtype):
  assert dropout(jax.random.key(0), jnp.ones(8, dtype), rate=0.5).dtype == dtype


@pytest.mark.parametrize("rate", [1, 1.5, -0.1, float("nan")])
def test_a_rate_outside_zero_to_one_is_refused(rate):
  with pytest.raises(ValueError, match=f"rate: expected 0 <= rate < 1, got {rate}"):
    dropout(jax.random.key(0), jnp.ones(3), rate=rate)
