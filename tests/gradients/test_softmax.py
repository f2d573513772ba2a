"""Softmax rules: the Jacobian, -inf, masks, ties, huge and tiny logits, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import softmax as gradients

INF = np.inf
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def logsumexp_vjp(x, *, d_out, where=None):
  """The rule with the first column of a cotangent in the shape of x."""
  return gradients.logsumexp_vjp(x, d_out=d_out[..., 0], where=where)


each_rule = pytest.mark.parametrize(
    "rule",
    [gradients.softmax_vjp, gradients.log_softmax_vjp, logsumexp_vjp],
    ids=["softmax", "log_softmax", "logsumexp"],
)


def draw(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


@eager_and_jit
def test_the_jacobian_agrees_with_jax(x64, compile_):
  x, where = draw(2, 3), jnp.asarray([[True, True, False], [True, False, True]])
  jacobian = compile_(gradients.softmax_jacobian)
  by_jax = jax.vmap(jax.jacobian(jax.nn.softmax))(x)
  np.testing.assert_allclose(jacobian(x), by_jax, rtol=1e-12, atol=1e-15)
  masked = jax.vmap(jax.jacobian(lambda x, w: jax.nn.softmax(x, where=w)))(x, where)
  np.testing.assert_allclose(jacobian(x, where=where), masked, rtol=1e-12, atol=1e-15)


def test_the_jacobian_of_two_classes_by_hand(x64):
  # p = (1/4, 3/4): p_0 (1 - p_0) = p_0 p_1 = 3/16.
  jacobian = gradients.softmax_jacobian(jnp.log(jnp.asarray([1.0, 3.0])))
  np.testing.assert_allclose(jacobian, np.array([[3, -3], [-3, 3]]) / 16, rtol=1e-12)


def test_the_rule_is_the_product_with_the_jacobian(x64):
  x, d_out = draw(2, 4), draw(2, 4, seed=1)
  expected = np.einsum("bi,bij->bj", d_out, gradients.softmax_jacobian(x))
  np.testing.assert_allclose(gradients.softmax_vjp(x, d_out=d_out), expected, rtol=1e-12)


@eager_and_jit
def test_cotangents_sum_to_the_derivative_of_a_shift(x64, compile_):
  # x + c does not change softmax and log-softmax and adds c to logsumexp.
  x, d_out = draw(2, 4), draw(2, 4, seed=1)
  sums = [
      compile_(rule)(x, d_out=d_out).sum(-1)
      for rule in (gradients.softmax_vjp, gradients.log_softmax_vjp, logsumexp_vjp)
  ]
  np.testing.assert_allclose(sums[:2], 0, atol=1e-14)
  np.testing.assert_allclose(sums[2], d_out[:, 0], rtol=1e-12)


@each_rule
@eager_and_jit
def test_an_entry_of_minus_infinity_counts_as_absent(x64, rule, compile_):
  x, d_out = draw(2, 4), draw(2, 4, seed=1)
  present = np.array([0, 1, 3])
  d_x = compile_(rule)(x.at[:, 2].set(-INF), d_out=d_out)
  np.testing.assert_array_equal(d_x[:, 2], 0)
  expected = rule(x[:, present], d_out=d_out[:, present])
  np.testing.assert_allclose(d_x[:, present], expected, rtol=1e-12)
  np.testing.assert_array_equal(
      compile_(gradients.probabilities)(x.at[:, 2].set(-INF))[:, 2], 0
  )


@each_rule
@eager_and_jit
def test_masked_entries_count_as_absent_whatever_their_value(x64, rule, compile_):
  x, d_out = draw(2, 4), draw(2, 4, seed=1)
  where = jnp.asarray([True, True, False, True])
  expected = rule(x.at[:, 2].set(-INF), d_out=d_out)
  for absent in (0.5, 1e308, INF, jnp.nan):
    d_x = compile_(rule)(x.at[:, 2].set(absent), d_out=d_out, where=where)
    np.testing.assert_allclose(d_x, expected, rtol=1e-12)


@each_rule
@eager_and_jit
@pytest.mark.parametrize("how", ["minus infinity", "where"])
def test_an_empty_row_gives_zeros_and_does_not_affect_the_others(rule, compile_, how):
  x, d_out = (draw(3, 4, seed=s).astype(jnp.float32) for s in (0, 1))
  options = {}
  expected = rule(x, d_out=d_out)
  if how == "where":
    options = {"where": jnp.asarray([[True], [False], [True]])}
  else:
    x = x.at[1].set(-INF)
  d_x = compile_(rule)(x, d_out=d_out, **options)
  np.testing.assert_array_equal(d_x[1], 0)
  np.testing.assert_allclose(d_x[::2], expected[::2], rtol=1e-6, atol=1e-6)
  p = compile_(gradients.probabilities)(x, **options)
  np.testing.assert_array_equal(p[1], 0)
  np.testing.assert_allclose(p[::2].sum(-1), 1, rtol=1e-6)
  jacobian = compile_(gradients.softmax_jacobian)(x, **options)
  np.testing.assert_array_equal(jacobian[1], 0)


@each_rule
def test_second_derivatives_of_an_empty_row_are_zero(rule):
  x, d_out = draw(3, 4).astype(jnp.float32).at[1].set(-INF), jnp.ones((3, 4)).at[:, 0].set(2)
  where = jnp.asarray([[True], [True], [False]])
  second = jax.jit(jax.grad(lambda x: (rule(x, d_out=d_out, where=where) * d_out).sum()))(x)
  np.testing.assert_array_equal(second[1:], 0)
  assert np.isfinite(second).all() and np.any(second[0] != 0)


def test_an_empty_row_is_zero_in_jax_with_where():
  # The reference: only `where` can make an empty row.
  x, where = jnp.ones(3), jnp.zeros(3, bool)
  p, vjp = jax.vjp(lambda x: jax.nn.softmax(x, where=where), x)
  np.testing.assert_array_equal(p, 0)
  np.testing.assert_array_equal(vjp(jnp.arange(3.0))[0], 0)


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@eager_and_jit
def test_huge_logits_are_finite_and_the_largest_has_probability_1(rule, dtype, compile_):
  x = jnp.asarray([[1e4, -1e4, 0.0], [-6e4, -5e4, -6e4]], dtype)
  one_hot = np.array([[1, 0, 0], [0, 1, 0]])
  np.testing.assert_array_equal(compile_(gradients.probabilities)(x), one_hot)
  d_out = jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype)
  d_x = compile_(rule)(x, d_out=d_out)
  assert d_x.dtype == dtype
  expected = {
      gradients.softmax_vjp: 0 * one_hot,
      gradients.log_softmax_vjp: d_out - one_hot * d_out.sum(-1, keepdims=True),
      logsumexp_vjp: one_hot * d_out[:, :1],
  }[rule]
  np.testing.assert_array_equal(d_x, expected)


@each_rule
def test_logits_far_from_zero_lose_no_accuracy(x64, rule):
  # 2^10 and thirds of 2^-20 lose nothing when they are added.
  x, d_out = jnp.round(draw(2, 4) * 2**20) / 2**20, draw(2, 4, seed=1)
  np.testing.assert_array_equal(rule(x + 2.0**10, d_out=d_out), rule(x, d_out=d_out))


@each_rule
@eager_and_jit
def test_ties_and_tiny_logits_get_equal_probabilities(rule, compile_):
  d_out = jnp.asarray([3.0, 0.0, 0.0, 0.0])
  expected = {
      gradients.softmax_vjp: [9 / 16, -3 / 16, -3 / 16, -3 / 16],
      gradients.log_softmax_vjp: [9 / 4, -3 / 4, -3 / 4, -3 / 4],
      logsumexp_vjp: [3 / 4] * 4,
  }[rule]
  for x in (jnp.zeros(4), jnp.full(4, 7e3), jnp.asarray([1e-30, -1e-30, 0.0, 1e-38])):
    np.testing.assert_allclose(compile_(rule)(x, d_out=d_out), expected, rtol=1e-6)


def test_probabilities_of_bfloat16_are_in_float32():
  # In bfloat16 1/3 is wrong by a thousandth, and log-softmax's 1 - 3 (1/3) is not 0.
  x = jnp.zeros(3, jnp.bfloat16)
  np.testing.assert_allclose(gradients.probabilities(x), 1 / 3, rtol=1e-7)
  np.testing.assert_array_equal(gradients.log_softmax_vjp(x, d_out=x + 1), 0)


def test_invalid_input_is_reported():
  x = jnp.ones((2, 3))
  shape = r"d_out: expected shape \(2, 3\), got \(2,\)"
  with pytest.raises(ValueError, match=shape):
    gradients.softmax_vjp(x, d_out=jnp.ones(2))
  with pytest.raises(ValueError, match=shape):
    gradients.log_softmax_vjp(x, d_out=jnp.ones(2))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2,\), got \(2, 3\)"):
    gradients.logsumexp_vjp(x, d_out=x)
  for rule, d_out in (
      (gradients.softmax_vjp, x),
      (gradients.log_softmax_vjp, x),
      (gradients.logsumexp_vjp, x[:, 0]),
  ):
    with pytest.raises(ValueError, match="d_out: expected dtype float32, got float16"):
      jax.jit(rule)(x, d_out=d_out.astype(jnp.float16))
    with pytest.raises(ValueError):
      rule(x, d_out=d_out, where=jnp.ones((4, 2, 3), bool))


def test_a_mask_that_does_not_broadcast_is_reported():
  x = jnp.zeros((2, 3))
  with pytest.raises(ValueError, match=r"where: expected a shape that broadcasts to \(2, 3\)"):
    gradients.softmax_vjp(x, d_out=x, where=jnp.ones((2, 2), bool))
