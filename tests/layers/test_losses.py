"""Losses: values by hand, masks, precision, gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import losses

MASK = np.array([[True, False, True], [False, False, True]])
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def cross_entropy(logits, labels):
  e = np.exp(logits)
  return np.array([
      [-np.log(e[b, t, labels[b, t]] / e[b, t].sum()) for t in range(e.shape[1])]
      for b in range(e.shape[0])
  ])


def binary_cross_entropy(x, y):
  p = 1 / (1 + np.exp(-x))
  return -y * np.log(p) - (1 - y) * np.log(1 - p)


def squared_error(x, y):
  return (x - y) ** 2


def draw(terms):
  """The loss whose terms these are, and its two arguments over (2, 3) places."""
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
  if terms is cross_entropy:
    return losses.cross_entropy, rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 3))
  if terms is binary_cross_entropy:
    return losses.binary_cross_entropy, x, (y > 0) * 1.0
  return losses.squared_error, x, y


each_loss = pytest.mark.parametrize(
    "terms", [cross_entropy, binary_cross_entropy, squared_error], ids=lambda f: f.__name__
)


@eager_and_jit
@each_loss
def test_a_loss_is_the_mean_of_its_terms_where_the_mask_is_true(x64, terms, compile_):
  loss, x, y = draw(terms)
  each = terms(x, y)
  x, y = jnp.asarray(x), jnp.asarray(y)
  np.testing.assert_allclose(compile_(loss)(x, y), each.mean(), rtol=1e-12)
  expected = (each[0, 0] + each[0, 2] + each[1, 2]) / 3
  np.testing.assert_allclose(compile_(loss)(x, y, jnp.asarray(MASK)), expected, rtol=1e-12)


@each_loss
def test_masked_places_change_nothing_and_receive_no_gradient(x64, terms):
  loss, x, y = draw(terms)
  value_and_grad = jax.value_and_grad(loss)
  mask = jnp.asarray(MASK)
  places = MASK.reshape(MASK.shape + (1,) * (x.ndim - 2))
  value, d_x = value_and_grad(jnp.asarray(x), jnp.asarray(y), mask)
  garbage, d_garbage = value_and_grad(jnp.asarray(np.where(places, x, 1e30)), jnp.asarray(y), mask)
  np.testing.assert_array_equal(garbage, value)
  np.testing.assert_array_equal(d_garbage, d_x)
  np.testing.assert_array_equal(np.where(places, 0, d_x), 0)
  assert np.all(np.where(places, d_x, 1) != 0)


@each_loss
def test_a_mask_without_any_true_gives_zero_and_zero_gradient(terms):
  loss, x, y = draw(terms)
  x, y = jnp.asarray(x, jnp.float32), jnp.asarray(y)
  value, d_x = jax.value_and_grad(loss)(x, y, jnp.zeros((2, 3), bool))
  assert value == 0
  np.testing.assert_array_equal(d_x, 0)


@each_loss
def test_bfloat16_inputs_are_reduced_in_float32(terms):
  loss, x, y = draw(terms)
  x, whole = jnp.asarray(x, jnp.bfloat16), y.dtype.kind == "i"
  y = jnp.asarray(y, jnp.int32 if whole else jnp.bfloat16)
  # 20,000 copies: a bfloat16 sum stops growing after a few hundred terms.
  copies = [jnp.tile(a, (20_000,) + (1,) * (a.ndim - 1)) for a in (x, y)]
  expected = terms(np.asarray(x, np.float64), np.asarray(y, np.int64 if whole else np.float64))
  value = loss(*copies)
  assert value.dtype == jnp.float32
  np.testing.assert_allclose(value, expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("absent", [np.nan, np.inf, -np.inf])
@eager_and_jit
def test_masked_mean_takes_what_is_under_a_false_as_absent(absent, compile_):
  values = jnp.array([[1.0, absent, 3.0], [absent, absent, 8.0]])
  f = compile_(jax.value_and_grad(losses.masked_mean))
  mean, d_values = f(values, jnp.asarray(MASK))
  assert mean == 4
  np.testing.assert_allclose(d_values, MASK / 3, rtol=1e-6)


def test_masked_mean_without_a_mask_is_the_mean_and_shows_a_nan():
  assert losses.masked_mean(jnp.array([1.0, 2.0, 6.0])) == 3
  assert np.isnan(losses.masked_mean(jnp.array([1.0, jnp.nan])))


def test_masked_mean_broadcasts_the_mask_and_counts_the_places():
  values = jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
  assert losses.masked_mean(values, jnp.array([[True], [False]])) == 2
  assert losses.masked_mean(values, jnp.array([True, False, False])) == 5.5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_masked_mean_sums_low_precision_in_float32(dtype):
  mean = losses.masked_mean(jnp.full(100_000, 3.0, dtype), jnp.arange(100_000) % 2 == 0)
  assert mean.dtype == jnp.float32 and mean == 3


def test_masked_mean_keeps_float64(x64):
  assert losses.masked_mean(jnp.array([1.0, 1e-12])).dtype == jnp.float64


def test_cross_entropy_is_finite_far_from_zero():
  logits = jnp.array([[1e4, 0.0], [0.0, 1e4]])
  np.testing.assert_allclose(losses.cross_entropy(logits, jnp.array([0, 0])), 5e3)


def test_binary_cross_entropy_is_finite_far_from_zero():
  value, d_x = jax.value_and_grad(losses.binary_cross_entropy)(
      jnp.array([1e4, -1e4]), jnp.array([0.0, 0.0])
  )
  assert value == 5e3
  np.testing.assert_allclose(d_x, [0.5, 0.0])


def test_cross_entropy_of_equal_logits_is_the_log_of_their_number():
  loss = functools.partial(losses.cross_entropy, labels=jnp.array([3, 0]))
  np.testing.assert_allclose(loss(jnp.zeros((2, 7))), np.log(7), rtol=1e-6)
