"""Losses with weights of examples and positions: values, gradients, zeros, what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import losses

pytestmark = pytest.mark.usefixtures("x64")
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
MASK = np.array([[True, False, True], [False, True, True]])
WEIGHTS = np.array([[0.5, 2.0, 0.0], [3.0, 1.0, 0.25]])
rng = np.random.default_rng(0)
X, Y, LOGITS = rng.normal(size=(2, 3)), rng.random((2, 3)), rng.normal(size=(2, 3, 4))
LABELS = rng.integers(0, 4, (2, 3))


def cross_entropy(logits, labels):
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  return -np.take_along_axis(log_p, labels[..., None], -1)[..., 0]


def binary_cross_entropy(x, y):
  p = 1 / (1 + np.exp(-x))
  return -y * np.log(p) - (1 - y) * np.log(1 - p)


# The loss, its arguments, and its terms.
LOSSES = {
    "masked_mean": (losses.masked_mean, (X,), X),
    "cross_entropy": (losses.cross_entropy, (LOGITS, LABELS), cross_entropy(LOGITS, LABELS)),
    "binary_cross_entropy": (losses.binary_cross_entropy, (X, Y), binary_cross_entropy(X, Y)),
    "squared_error": (losses.squared_error, (X, Y), (X - Y) ** 2),
}
each_loss = pytest.mark.parametrize("name", LOSSES)


def case(name):
  loss, arguments, terms = LOSSES[name]
  return loss, tuple(map(jnp.asarray, arguments)), terms


@eager_and_jit
@each_loss
def test_a_loss_is_the_weighted_mean_of_its_terms(name, compile_):
  loss, arguments, terms = case(name)
  run = compile_(lambda arguments, mask, weights: loss(*arguments, mask, weights=weights))
  for mask, weights in ((None, WEIGHTS), (MASK, WEIGHTS[:, 1:2]), (MASK, WEIGHTS[0]), (None, 3.0)):
    w = np.broadcast_to(weights, (2, 3)) * (1 if mask is None else mask)
    found = run(arguments, None if mask is None else jnp.asarray(mask), jnp.asarray(weights))
    np.testing.assert_allclose(found, (w * terms).sum() / w.sum(), rtol=1e-12)


@eager_and_jit
def test_weights_of_positions_and_of_classes_multiply(compile_):
  c, a = np.array([0.5, 2.0, 0.0, 1.0]), 0.2
  log_p = LOGITS - np.log(np.exp(LOGITS).sum(-1, keepdims=True))
  top = bottom = 0.0
  for b, t in zip(*np.nonzero(MASK)):
    label, w = LABELS[b, t], WEIGHTS[b, t]
    top -= w * ((1 - a) * c[label] * log_p[b, t, label] + a / 4 * (c * log_p[b, t]).sum())
    bottom += w * c[label]
  loss = compile_(functools.partial(losses.cross_entropy, label_smoothing=a))
  found = loss(
      jnp.asarray(LOGITS), LABELS, MASK, weights=jnp.asarray(WEIGHTS), class_weights=jnp.asarray(c)
  )
  np.testing.assert_allclose(found, top / bottom, rtol=1e-12)


@each_loss
def test_equal_weights_change_nothing_and_weights_of_zero_and_one_are_a_mask(name):
  loss, arguments, _ = case(name)
  slopes = jax.value_and_grad(loss)
  for weights, mask in ((jnp.full((2, 3), 7.0), None), (jnp.asarray(MASK, int), MASK)):
    found = slopes(*arguments, weights=weights)
    for a, b in zip(found, slopes(*arguments, mask)):
      np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@eager_and_jit
@each_loss
def test_weights_that_sum_to_zero_give_a_zero_loss_and_gradient(name, compile_):
  loss, arguments, _ = case(name)
  only_masked = jnp.where(MASK, 0, 1.0)
  for mask, weights in ((None, jnp.zeros((2, 3))), (jnp.asarray(MASK), only_masked)):
    value, slope = compile_(jax.value_and_grad(loss))(*arguments, mask, weights=weights)
    assert value == 0
    np.testing.assert_array_equal(slope, 0)


@each_loss
def test_masked_positions_have_no_effect_whatever_their_weight(name):
  loss, arguments, _ = case(name)

  def slopes(first, weights):
    run = lambda first, weights: loss(first, *arguments[1:], MASK, weights=weights)  # noqa: E731
    return jax.value_and_grad(run, argnums=(0, 1))(first, weights)

  places = MASK.reshape(2, 3, *[1] * (arguments[0].ndim - 2))
  clean = slopes(arguments[0], jnp.asarray(WEIGHTS))
  garbage = slopes(jnp.where(places, arguments[0], jnp.nan), jnp.where(MASK, WEIGHTS, jnp.nan))
  jax.tree.map(np.testing.assert_array_equal, garbage, clean)


@each_loss
def test_the_slope_of_a_weight_is_the_distance_of_its_term_from_the_mean(name):
  # d/dw_i sum(w l) / sum(w) = (l_i - mean) / sum(w), also at w_i = 0.
  loss, arguments, terms = case(name)
  mean, slope = jax.value_and_grad(lambda w: loss(*arguments, weights=w))(jnp.asarray(WEIGHTS))
  np.testing.assert_allclose(slope, (terms - mean) / WEIGHTS.sum(), rtol=1e-11, atol=1e-14)


@each_loss
def test_weights_do_not_change_the_dtype_and_are_summed_in_float32(name):
  loss, arguments, terms = case(name)
  low = [a.astype(jnp.bfloat16) if a.dtype == jnp.float64 else a for a in arguments]
  copies = [jnp.tile(a, (20_000, *[1] * (a.ndim - 1))) for a in low]
  for dtype in (jnp.bfloat16, jnp.float64):
    value = loss(*copies, weights=jnp.asarray(np.tile(WEIGHTS, (20_000, 1)), dtype))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, (WEIGHTS * terms).sum() / WEIGHTS.sum(), rtol=0.02, atol=0.01)


@each_loss
def test_wrong_weights_are_named(name):
  loss, arguments, _ = case(name)
  shape = r"weights: expected a shape that broadcasts to \(2, 3\), got \(4, 3\)"
  for weights, message in (
      (jnp.ones((4, 3)), shape),
      (jnp.asarray([1.0, -0.5, 2.0]), "weights: expected numbers of at least 0, got -0.5"),
      ([1, -2, 2], "weights: expected numbers of at least 0, got -2"),
      (MASK, "weights: expected numbers, got bool; a bool array is a mask"),
  ):
    with pytest.raises(ValueError, match=message):
      loss(*arguments, weights=weights)
  closed_over = jax.jit(lambda *arguments: loss(*arguments, weights=jnp.asarray([1.0, -0.5, 2])))
  assert np.isfinite(closed_over(*arguments))  # Not known while it is traced.


def test_negative_class_weights_are_named():
  with pytest.raises(ValueError, match="class_weights: expected numbers of at least 0, got -1.0"):
    losses.cross_entropy(jnp.zeros((2, 3)), jnp.zeros(2, int), class_weights=[1.0, -1.0, 2.0])
