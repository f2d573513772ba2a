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
  """The loss with these terms, and its two arguments for (2, 3) positions."""
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


@pytest.mark.sampled(2)
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
def test_masked_positions_have_no_effect_and_no_gradient(x64, terms):
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
def test_a_mask_of_false_gives_a_zero_loss_and_gradient(terms):
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
def test_masked_mean_ignores_masked_values(absent, compile_):
  values = jnp.array([[1.0, absent, 3.0], [absent, absent, 8.0]])
  f = compile_(jax.value_and_grad(losses.masked_mean))
  mean, d_values = f(values, jnp.asarray(MASK))
  assert mean == 4
  np.testing.assert_allclose(d_values, MASK / 3, rtol=1e-6)


def test_masked_mean_without_a_mask_is_the_mean_and_propagates_nan():
  assert losses.masked_mean(jnp.array([1.0, 2.0, 6.0])) == 3
  assert np.isnan(losses.masked_mean(jnp.array([1.0, jnp.nan])))


def test_masked_mean_broadcasts_the_mask_before_counting():
  values = jnp.array([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
  assert losses.masked_mean(values, jnp.array([[True], [False]])) == 2
  assert losses.masked_mean(values, jnp.array([True, False, False])) == 5.5


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_masked_mean_sums_low_precision_in_float32(dtype):
  mean = losses.masked_mean(jnp.full(100_000, 3.0, dtype), jnp.arange(100_000) % 2 == 0)
  assert mean.dtype == jnp.float32 and mean == 3


def test_masked_mean_keeps_float64(x64):
  assert losses.masked_mean(jnp.array([1.0, 1e-12])).dtype == jnp.float64


def test_cross_entropy_is_finite_for_large_logits():
  logits = jnp.array([[1e4, 0.0], [0.0, 1e4]])
  np.testing.assert_allclose(losses.cross_entropy(logits, jnp.array([0, 0])), 5e3)


def test_binary_cross_entropy_is_finite_for_large_logits():
  value, d_x = jax.value_and_grad(losses.binary_cross_entropy)(
      jnp.array([1e4, -1e4]), jnp.array([0.0, 0.0])
  )
  assert value == 5e3
  np.testing.assert_allclose(d_x, [0.5, 0.0])


def test_cross_entropy_of_equal_logits_is_the_log_of_their_number():
  loss = functools.partial(losses.cross_entropy, labels=jnp.array([3, 0]))
  np.testing.assert_allclose(loss(jnp.zeros((2, 7))), np.log(7), rtol=1e-6)


@eager_and_jit
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1, 1.0])
def test_label_smoothing_is_the_cross_entropy_to_smoothed_targets(
    x64, label_smoothing, compile_
):
  _, logits, labels = draw(cross_entropy)
  e = np.exp(logits)
  log_p = np.log(e / e.sum(-1, keepdims=True))
  each = np.zeros((2, 3))
  for b, t, k in np.ndindex(2, 3, 4):
    target = (1 - label_smoothing) * (labels[b, t] == k) + label_smoothing / 4
    each[b, t] -= target * log_p[b, t, k]
  loss = compile_(functools.partial(losses.cross_entropy, label_smoothing=label_smoothing))
  args = jnp.asarray(logits), jnp.asarray(labels)
  np.testing.assert_allclose(loss(*args), each.mean(), rtol=1e-12)
  np.testing.assert_allclose(loss(*args, jnp.asarray(MASK)), each[MASK].mean(), rtol=1e-12)


def test_label_smoothing_has_its_minimum_at_the_smoothed_targets():
  loss = functools.partial(losses.cross_entropy, labels=jnp.array(0), label_smoothing=0.3)
  best = jnp.log(jnp.array([0.8, 0.1, 0.1]))  # 0.7 + 0.1 for the label, 0.1 for the others.
  np.testing.assert_allclose(jax.grad(loss)(best), 0, atol=1e-6)
  assert loss(best) < loss(jnp.array([10.0, 0.0, 0.0])) < loss(jnp.array([1e4, 0.0, 0.0])) < 1e4
  assert loss(jnp.array([0.0, -jnp.inf, 0.0])) == jnp.inf


def test_cross_entropy_with_logits_of_minus_infinity_is_finite_without_smoothing():
  loss = losses.cross_entropy(jnp.array([0.0, -jnp.inf, 0.0]), jnp.array(0))
  np.testing.assert_allclose(loss, np.log(2), rtol=1e-6)


@eager_and_jit
@pytest.mark.parametrize("label", [-1, -3, -100, 3, 10**6])
def test_a_label_out_of_range_makes_the_loss_nan_unless_masked(label, compile_):
  loss, logits = compile_(losses.cross_entropy), jnp.zeros((2, 3))
  labels = jnp.array([0, label])
  assert np.isnan(loss(logits, labels))
  np.testing.assert_allclose(loss(logits, labels, jnp.array([True, False])), np.log(3), rtol=1e-6)


def test_uint8_labels_reach_class_255():
  logits = jnp.zeros(256).at[255].set(1e4)
  assert losses.cross_entropy(logits, jnp.array(255, jnp.uint8)) == 0


@pytest.mark.parametrize("loss", [losses.binary_cross_entropy, losses.squared_error])
def test_masked_values_of_the_second_argument_have_no_effect(loss):
  mask = jnp.array([True, False])
  grad = jax.value_and_grad(loss, argnums=(0, 1))
  clean = grad(jnp.array([2.0, 3.0]), jnp.array([1.0, 0.0]), mask)
  garbage = grad(jnp.array([2.0, 3.0]), jnp.array([1.0, jnp.nan]), mask)
  jax.tree.map(np.testing.assert_array_equal, garbage, clean)


@pytest.mark.parametrize("label_smoothing", [-0.1, 1.5, float("nan")])
def test_label_smoothing_outside_zero_to_one_is_refused(label_smoothing):
  expected = f"label_smoothing: expected 0 <= label_smoothing <= 1, got {label_smoothing}"
  with pytest.raises(ValueError, match=expected):
    losses.cross_entropy(jnp.zeros(3), jnp.array(0), label_smoothing=label_smoothing)


def test_shapes_that_do_not_fit_are_named():
  x, labels = jnp.zeros((2, 3)), jnp.zeros(2, jnp.int32)
  with pytest.raises(ValueError, match=r"labels: expected shape \(2,\), got \(3,\)"):
    losses.cross_entropy(x, jnp.zeros(3, jnp.int32))
  with pytest.raises(ValueError, match=r"labels: expected shape \(2, 3\), got \(3,\)"):
    losses.binary_cross_entropy(x, x[0])
  with pytest.raises(ValueError, match=r"targets: expected shape \(2,\), got \(2, 1\)"):
    losses.squared_error(x[:, 0], x[:, :1])
  wrong = jnp.ones((4, 2, 3), bool)
  for call, shape in (
      (functools.partial(losses.masked_mean, x), r"\(2, 3\)"),
      (functools.partial(losses.cross_entropy, x, labels), r"\(2,\)"),
      (functools.partial(losses.binary_cross_entropy, x, x), r"\(2, 3\)"),
      (functools.partial(losses.squared_error, x, x), r"\(2, 3\)"),
  ):
    message = rf"mask: expected a shape that broadcasts to {shape}, got \(4, 2, 3\)"
    with pytest.raises(ValueError, match=message):
      call(mask=wrong)


@eager_and_jit
def test_penalties_by_hand(compile_):
  params = {"a": jnp.array([[1.0, -2.0], [0.0, 3.0]]), "b": [jnp.array(-4.0)]}
  assert compile_(losses.l2_penalty)(params, 0.5) == 0.25 * (1 + 4 + 9 + 16)
  assert compile_(losses.l1_penalty)(params, 0.5) == 0.5 * (1 + 2 + 3 + 4)


@pytest.mark.parametrize("penalty", [losses.l2_penalty, losses.l1_penalty])
def test_penalties_sum_low_precision_in_float32_and_empty_trees_to_zero(penalty):
  # The spacing of bfloat16 numbers at 1000 is 4, so it would lose the 1.
  total = penalty({"a": jnp.ones(1000, jnp.bfloat16), "b": jnp.ones(1, jnp.bfloat16)}, 2.0)
  assert total.dtype == jnp.float32
  assert total == (1001 if penalty is losses.l2_penalty else 2002)
  assert penalty({}, 2.0) == 0


def test_a_penalty_keeps_float64(x64):
  assert losses.l2_penalty({"a": jnp.array([1.0, 1e-12])}, 1.0).dtype == jnp.float64


@eager_and_jit
@pytest.mark.parametrize("label_smoothing", [0.0, 0.3])
@pytest.mark.parametrize("masked", [False, True])
def test_class_weights_give_the_weighted_mean(x64, compile_, label_smoothing, masked):
  """The formula of torch.nn.CrossEntropyLoss, with loops."""
  rng = np.random.default_rng(1)
  logits, labels = rng.normal(size=(2, 3, 4)), rng.integers(0, 4, (2, 3))
  weights = np.array([0.5, 2.0, 0.0, 1.0])
  top = bottom = 0.0
  for b, t in np.ndindex(2, 3):
    if masked and not MASK[b, t]:
      continue
    log_p = logits[b, t] - np.log(np.exp(logits[b, t]).sum())
    label = labels[b, t]
    top -= (1 - label_smoothing) * weights[label] * log_p[label]
    top -= label_smoothing / 4 * (weights * log_p).sum()
    bottom += weights[label]
  loss = compile_(functools.partial(losses.cross_entropy, label_smoothing=label_smoothing))
  mask = jnp.asarray(MASK) if masked else None
  found = loss(jnp.asarray(logits), labels, mask, class_weights=jnp.asarray(weights))
  np.testing.assert_allclose(found, top / bottom, rtol=1e-12)


def test_class_weights_of_one_change_nothing_and_of_zero_ignore_a_class(x64):
  logits = jnp.asarray(np.random.default_rng(0).normal(size=(5, 3)))
  labels = jnp.asarray([0, 2, 1, 2, 0])
  plain = losses.cross_entropy(logits, labels)
  same = losses.cross_entropy(logits, labels, class_weights=jnp.ones(3))
  np.testing.assert_allclose(same, plain, rtol=1e-12)
  without = losses.cross_entropy(logits, labels, class_weights=[1.0, 1.0, 0.0])
  np.testing.assert_allclose(without, losses.cross_entropy(logits, labels, labels != 2), rtol=1e-12)
  value_and_grad = jax.value_and_grad(losses.cross_entropy)
  value, d_logits = value_and_grad(logits, labels, class_weights=jnp.zeros(3))
  assert value == 0 and not d_logits.any()
  # A class that is impossible and has no weight is no reason for nan.
  impossible = logits.at[:, 2].set(-jnp.inf)
  value, d_logits = value_and_grad(impossible, labels, labels != 2, class_weights=[1.0, 1.0, 0.0])
  assert np.isfinite(value) and np.isfinite(d_logits).all()


def test_wrong_class_weights_are_named():
  with pytest.raises(ValueError, match=r"class_weights: expected shape \(3,\)"):
    losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, int), class_weights=jnp.ones(2))
