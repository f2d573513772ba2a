"""Loss rules: examples by hand, -inf, huge logits, ties, masks, dtypes, invalid input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import losses as gradients
from dlx.layers import losses

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
NONE = np.zeros(2, bool)


def cross_entropy(logits, *, labels, mask=None, **options):
  """The rule with a cotangent of 1."""
  d_out = jnp.ones((), jnp.promote_types(logits.dtype, jnp.float32))
  return gradients.cross_entropy_vjp(logits, labels=labels, d_out=d_out, mask=mask, **options)


@eager_and_jit
def test_cross_entropy_is_prediction_minus_target(x64, compile_):
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  d_logits = compile_(cross_entropy)(logits, labels=jnp.asarray([0, 1]))
  expected = np.array([[1 / 4 - 1, 3 / 4], [1 / 2, 1 / 2 - 1]]) / 2
  np.testing.assert_allclose(d_logits, expected, rtol=1e-12)


def test_a_label_may_be_a_scalar():
  logits = jnp.asarray([1.0, 2.0, 0.5])
  expected = jax.grad(losses.cross_entropy)(logits, 1)
  np.testing.assert_allclose(cross_entropy(logits, labels=1), expected, rtol=1e-6)


@eager_and_jit
def test_smoothing_moves_the_target_from_one_hot(x64, compile_):
  logits = jnp.log(jnp.asarray([[1.0, 3.0, 4.0, 8.0]]))
  rule = compile_(functools.partial(cross_entropy, label_smoothing=0.2))
  d_logits = rule(logits, labels=jnp.asarray([2]))
  expected = np.array([1, 3, 4, 8]) / 16 - np.array([0.05, 0.05, 0.85, 0.05])
  np.testing.assert_allclose(d_logits[0], expected, rtol=1e-12)


@eager_and_jit
@pytest.mark.parametrize("label_smoothing", [0.0, 0.1])
def test_cross_entropy_has_a_zero_cotangent_where_the_prediction_is_the_target(
    x64, label_smoothing, compile_
):
  q = np.full(4, label_smoothing / 4)
  q[1] += 1 - label_smoothing
  rule = functools.partial(cross_entropy, label_smoothing=label_smoothing)
  with np.errstate(divide="ignore"):  # log 0 = -inf, on purpose.
    logits = jnp.asarray(np.log(q))
  d_logits = compile_(rule)(logits, labels=jnp.asarray(1))
  np.testing.assert_allclose(d_logits, 0, atol=1e-15)


@eager_and_jit
def test_cross_entropy_ignores_classes_of_probability_zero(x64, compile_):
  logits = jnp.asarray([[1.0, -jnp.inf, 2.0, -jnp.inf]])
  d_logits = compile_(cross_entropy)(logits, labels=jnp.asarray([2]))
  np.testing.assert_array_equal(d_logits[:, 1::2], 0)
  expected = cross_entropy(logits[:, ::2], labels=jnp.asarray([1]))
  np.testing.assert_allclose(d_logits[:, ::2], expected, rtol=1e-12)


@eager_and_jit
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
def test_cross_entropy_of_huge_and_tiny_logits(dtype, compile_):
  logits = jnp.asarray([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0], [1e-7, 0.0, -1e-7]], dtype)
  d_logits = compile_(cross_entropy)(logits, labels=jnp.asarray([0, 1, 2]))
  assert d_logits.dtype == dtype
  expected = np.array([[0, 0, 0], [1, -1, 0], [1 / 3, 1 / 3, -2 / 3]]) / 3
  np.testing.assert_allclose(d_logits.astype(jnp.float32), expected, rtol=4e-3, atol=1e-6)


@eager_and_jit
def test_ties_push_all_wrong_classes_equally(compile_):
  d_logits = compile_(cross_entropy)(jnp.full((1, 4), 5.0), labels=jnp.asarray([3]))
  np.testing.assert_allclose(d_logits, [[0.25, 0.25, 0.25, -0.75]], rtol=1e-6)


@eager_and_jit
@pytest.mark.parametrize("label", [-1, -100, 3, 10**6])
def test_masked_labels_may_have_any_value(label, compile_):
  logits = jnp.asarray([[1.0, 2.0, 3.0], [jnp.nan, jnp.inf, 0.0]])
  mask = jnp.asarray([True, False])
  d_logits = compile_(cross_entropy)(logits, labels=jnp.asarray([0, label]), mask=mask)
  np.testing.assert_array_equal(d_logits[1], 0)
  by_jax = jax.grad(losses.cross_entropy)(logits, jnp.asarray([0, label]), mask)
  np.testing.assert_allclose(d_logits, by_jax, rtol=1e-6)


@eager_and_jit
def test_binary_cross_entropy_by_hand(x64, compile_):
  logits = jnp.log(jnp.asarray([3.0, 1 / 3]))  # s = 3/4, 1/4
  labels, d_out = jnp.asarray([1.0, 0.5]), jnp.asarray(2.0)
  d_logits, d_labels = compile_(gradients.binary_cross_entropy_vjp)(logits, labels, d_out=d_out)
  np.testing.assert_allclose(d_logits, [-1 / 4, -1 / 4], rtol=1e-12)
  np.testing.assert_allclose(d_labels, [-np.log(3), np.log(3)], rtol=1e-12)


@eager_and_jit
def test_binary_cross_entropy_is_accurate_for_confident_correct_predictions(compile_):
  logits = jnp.asarray([40.0, -40.0, 1e4, -1e4, jnp.inf, -jnp.inf])
  d_logits, _ = compile_(gradients.binary_cross_entropy_vjp)(
      logits, (logits > 0) * 1.0, d_out=jnp.asarray(6.0)
  )
  tail = np.exp(-40.0)
  np.testing.assert_allclose(d_logits, [-tail, tail, 0, 0, 0, 0], rtol=1e-5)


@eager_and_jit
def test_binary_cross_entropy_is_bounded_for_confident_wrong_predictions(compile_):
  logits = jnp.asarray([1e4, -1e4, jnp.inf, -jnp.inf, 0.0, 1e-30])
  d_logits, _ = compile_(gradients.binary_cross_entropy_vjp)(
      logits, (logits <= 0) * 1.0, d_out=jnp.asarray(6.0)
  )
  np.testing.assert_allclose(d_logits, [1, -1, 1, -1, -0.5, 0.5], rtol=1e-6)


@pytest.mark.parametrize("dtype", [bool, jnp.int32])
def test_integer_labels_have_no_cotangent(dtype):
  logits, d_out = jnp.asarray([0.3, -2.0]), jnp.asarray(1.0)
  d_logits, d_labels = gradients.binary_cross_entropy_vjp(
      logits, jnp.asarray([1, 0], dtype), d_out=d_out
  )
  assert d_labels is None
  expected, _ = gradients.binary_cross_entropy_vjp(logits, jnp.asarray([1.0, 0.0]), d_out=d_out)
  np.testing.assert_array_equal(d_logits, expected)


@eager_and_jit
def test_squared_error_by_hand(compile_):
  d_predictions, d_targets = compile_(gradients.squared_error_vjp)(
      jnp.asarray([3.0, 1e-20, 1e15]), jnp.asarray([1.0, 0.0, 0.0]), d_out=jnp.asarray(3.0)
  )
  np.testing.assert_allclose(d_predictions, [4, 2e-20, 2e15], rtol=1e-6)
  np.testing.assert_array_equal(d_targets, -d_predictions)


@eager_and_jit
def test_masked_mean_by_hand(compile_):
  rule, d_out = compile_(gradients.masked_mean_vjp), jnp.asarray(6.0)
  values = jnp.asarray([[1.0, jnp.nan, 3.0], [4.0, 5.0, jnp.inf]])
  np.testing.assert_array_equal(rule(values, d_out=d_out), np.ones((2, 3)))
  mask = jnp.asarray([True, False, True])
  np.testing.assert_array_equal(
      rule(values, d_out=d_out, mask=mask), [[1.5, 0, 1.5], [1.5, 0, 1.5]]
  )
  np.testing.assert_array_equal(
      rule(values, d_out=d_out, mask=mask[:2, None]), [[2, 2, 2], [0, 0, 0]]
  )


@eager_and_jit
def test_weights_share_the_cotangent_by_hand(compile_):
  values, d_out = jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), jnp.asarray(12.0)
  rule = compile_(gradients.masked_mean_vjp)
  weights = jnp.asarray([[1.0, 2.0, 0.0], [0.0, 3.0, jnp.nan]])
  mask = jnp.asarray([[True, True, True], [True, True, False]])
  d_values = rule(values, d_out=d_out, mask=mask, weights=weights)
  np.testing.assert_array_equal(d_values, [[2, 4, 0], [0, 6, 0]])
  rows = rule(values, d_out=d_out, weights=weights[:, :1])
  np.testing.assert_array_equal(rows, [[4, 4, 4], [0, 0, 0]])
  nothing = rule(values, d_out=d_out, weights=jnp.zeros(3))
  np.testing.assert_array_equal(nothing, np.zeros((2, 3)))


@eager_and_jit
def test_weights_of_positions_and_classes_multiply(x64, compile_):
  # p = [1/4, 3/4] and [1/2, 1/2]; the factors w c are 2 * 5 and 3 * 1, and share 13.
  logits = jnp.log(jnp.asarray([[1.0, 3.0], [1.0, 1.0]]))
  d_logits = compile_(cross_entropy)(
      logits, labels=jnp.asarray([0, 1]), weights=jnp.asarray([2.0, 3.0]),
      class_weights=jnp.asarray([5.0, 1.0]),
  )  # fmt: skip
  expected = np.array([[10 * (1 / 4 - 1), 10 * 3 / 4], [3 / 2, 3 * (1 / 2 - 1)]]) / 13
  np.testing.assert_allclose(d_logits, expected, rtol=1e-12)


# Each rule as a function of two arrays with two entries, and of the mask.
RULES = {
    "masked_mean": lambda x, y, mask: gradients.masked_mean_vjp(
        x, d_out=jnp.ones(()), mask=mask
    ),
    "cross_entropy": lambda x, y, mask: cross_entropy(
        jnp.stack([x, 0 * x], -1), labels=jnp.zeros(2, jnp.int32), mask=mask, label_smoothing=0.1
    ),
    "binary_cross_entropy": lambda x, y, mask: gradients.binary_cross_entropy_vjp(
        x, y, d_out=jnp.ones(()), mask=mask
    ),
    "squared_error": lambda x, y, mask: gradients.squared_error_vjp(
        x, y, d_out=jnp.ones(()), mask=mask
    ),
}
each_rule = pytest.mark.parametrize("name", RULES)


@each_rule
@eager_and_jit
@pytest.mark.parametrize("absent", [np.nan, np.inf, -np.inf])
def test_masked_entries_get_zero_and_do_not_affect_the_others(name, absent, compile_):
  rule, mask = compile_(RULES[name]), jnp.asarray([True, False])
  garbage = rule(jnp.asarray([2.0, absent]), jnp.asarray([1.0, absent]), mask)
  clean = rule(jnp.asarray([2.0, 3.0]), jnp.asarray([1.0, 0.0]), mask)
  for a, b in zip(jax.tree.leaves(garbage), jax.tree.leaves(clean)):
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a[1], 0)
    assert np.all(a[0] != 0)


@each_rule
@eager_and_jit
def test_an_all_false_mask_gives_zeros(name, compile_):
  x = jnp.asarray([2.0, jnp.nan])
  for leaf in jax.tree.leaves(compile_(RULES[name])(x, x, jnp.asarray(NONE))):
    np.testing.assert_array_equal(leaf, 0)


@eager_and_jit
def test_second_derivatives_under_an_all_false_mask_are_zero(compile_):
  def total(d_out):
    return gradients.masked_mean_vjp(jnp.ones(2), d_out=d_out, mask=jnp.asarray(NONE)).sum()

  assert compile_(jax.grad(total))(jnp.ones(())) == 0


def test_cotangents_have_the_dtypes_of_the_inputs_and_the_loss_is_float32():
  x, y, d_out = jnp.ones(3, jnp.bfloat16), jnp.ones(3, jnp.float16), jnp.ones((), jnp.float32)
  assert gradients.masked_mean_vjp(x, d_out=d_out).dtype == jnp.bfloat16
  for rule in (gradients.binary_cross_entropy_vjp, gradients.squared_error_vjp):
    assert [d.dtype for d in rule(x, y, d_out=d_out)] == [jnp.bfloat16, jnp.float16]


def test_invalid_input_is_reported():
  x, labels, one = jnp.ones((2, 3)), jnp.zeros(2, jnp.int32), jnp.ones(())
  calls = [
      functools.partial(gradients.masked_mean_vjp, x),
      functools.partial(gradients.cross_entropy_vjp, x, labels=labels),
      functools.partial(gradients.binary_cross_entropy_vjp, x, x),
      functools.partial(gradients.squared_error_vjp, x, x),
  ]
  for call in calls:
    with pytest.raises(ValueError, match=r"d_out: expected shape \(\), got \(2, 3\)"):
      call(d_out=x)
    with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
      call(d_out=one.astype(jnp.bfloat16))
    with pytest.raises(ValueError):
      call(d_out=one, mask=jnp.ones((4, 2, 3), bool))
    with pytest.raises(ValueError, match="weights: expected a shape that broadcasts to"):
      call(d_out=one, weights=jnp.ones((4, 2, 3)))
  with pytest.raises(ValueError, match=r"labels: expected shape \(2,\), got \(3,\)"):
    gradients.cross_entropy_vjp(x, labels=jnp.zeros(3, jnp.int32), d_out=one)
  with pytest.raises(ValueError, match=r"labels: expected shape \(2, 3\), got \(3,\)"):
    gradients.binary_cross_entropy_vjp(x, x[0], d_out=one)
  with pytest.raises(ValueError, match=r"targets: expected shape \(2, 3\), got \(2, 1\)"):
    gradients.squared_error_vjp(x, x[:, :1], d_out=one)


def test_a_mask_that_does_not_broadcast_is_reported():
  x = jnp.zeros((2, 3))
  with pytest.raises(ValueError, match=r"mask: expected a shape that broadcasts to \(2, 3\)"):
    gradients.squared_error_vjp(x, x, d_out=jnp.zeros(()), mask=jnp.ones((2, 2), bool))


def test_weakly_typed_inputs_have_the_dtype_of_the_loss():
  with jax.enable_x64(True):
    x, target = jnp.asarray(1.5), jnp.asarray(1.0)
    d_x, d_target = gradients.squared_error_vjp(x, target, d_out=jnp.ones(()))
    assert (float(d_x), float(d_target)) == (1.0, -1.0)
