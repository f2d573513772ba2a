"""Shared properties of the rules of rnn, gru and lstm: padding, carries, errors, sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import bptt
from dlx.gradients import gru as gru_gradients
from dlx.gradients import lstm as lstm_gradients
from dlx.gradients import rnn as rnn_gradients
from dlx.layers import gru, lstm, rnn

B, T, D, H = 3, 4, 2, 3
LENGTHS = np.array([4, 2, 0])

pytestmark = pytest.mark.usefixtures("x64")
each_rule = pytest.mark.parametrize(
    "layer, rules, options",
    [
        (rnn, rnn_gradients, {}),
        (rnn, rnn_gradients, {"activation": jax.nn.relu}),
        (gru, gru_gradients, {"reset_after": False}),
        (gru, gru_gradients, {"reset_after": True}),
        (lstm, lstm_gradients, {}),
    ],
    ids=["rnn", "rnn_relu", "gru", "gru_reset_after", "lstm"],
)


def draw(layer, options, steps=T):
  """(params, xs, carry), (d_last, d_ys): inputs and cotangents, all nonzero."""
  rng = np.random.default_rng(0)

  def noise(a):
    return jnp.asarray(rng.normal(size=a.shape))

  form = {name: value for name, value in options.items() if name != "activation"}
  params = jax.tree.map(noise, layer.init(jax.random.key(0), D, H, **form))
  if len(form) < len(options):
    params["bias"] += 2  # In no step is every unit of relu inactive.
  carry = jax.tree.map(noise, layer.initial_carry(params, (B,)))
  inputs = params, noise(jnp.zeros((B, steps, D))), carry
  return inputs, (jax.tree.map(noise, carry), noise(jnp.zeros((B, steps, H))))


def assert_same(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.mark.sampled(2)
@each_rule
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_padding_has_no_effect_even_if_it_is_nan(layer, rules, options, reverse):
  (params, xs, carry), (d_last, d_ys) = draw(layer, options)
  padding = np.arange(T)[:, None] >= LENGTHS[:, None, None]

  @jax.jit
  def rule(xs, d_ys):
    return rules.scan_vjp(
        params, xs, carry, d_out=(d_last, d_ys), lengths=jnp.asarray(LENGTHS), reverse=reverse,
        **options,
    )

  expected = rule(xs, d_ys)
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
  np.testing.assert_array_equal(np.where(padding, expected[1], 0), 0)
  assert (np.where(padding, 1, expected[1]) != 0).all()
  for garbage in (np.nan, np.inf):
    actual = rule(jnp.where(padding, garbage, xs), jnp.where(padding, garbage, d_ys))
    assert_same(actual, expected)


@pytest.mark.sampled(2)
@each_rule
@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_without_valid_steps_the_cotangent_of_the_carry_is_unchanged(
    layer, rules, options, compile_
):
  inputs, d_out = draw(layer, options)
  rule = compile_(functools.partial(rules.scan_vjp, **options))
  d_params, d_xs, d_carry = rule(*inputs, d_out=d_out, lengths=jnp.zeros(B, jnp.int32))
  assert_same(d_carry, d_out[0])
  for leaf in jax.tree.leaves((d_params, d_xs)):
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.sampled(2)
@each_rule
def test_without_steps_the_cotangent_of_the_carry_is_unchanged(layer, rules, options):
  inputs, d_out = draw(layer, options, steps=0)
  for reverse in (False, True):
    d_params, d_xs, d_carry = rules.scan_vjp(*inputs, d_out=d_out, reverse=reverse, **options)
    assert d_xs.shape == (B, 0, D)
    assert_same(d_carry, d_out[0])
    assert_same(d_params, jax.tree.map(jnp.zeros_like, inputs[0]))


@each_rule
def test_a_cotangent_that_does_not_fit_is_named(layer, rules, options):
  (params, xs, carry), (d_last, d_ys) = draw(layer, options)
  names = ("c", "h") if layer is lstm else ("carry",)
  leaves, tree = jax.tree.flatten(d_last)

  def scan(d_last, d_ys):
    rules.scan_vjp(params, xs, carry, d_out=(d_last, d_ys), **options)

  def cell(d_last, d_y):
    rules.cell_vjp(params, carry, xs[:, 0], d_out=(d_last, d_y), **options)

  for run, d_y, name in ((scan, d_ys, "ys"), (cell, d_ys[:, 0], "y")):
    expected = ", ".join(str(size) for size in d_y.shape)
    with pytest.raises(ValueError, match=rf"d_out's {name}: expected shape \({expected}\), got"):
      jax.eval_shape(run, d_last, d_y[:-1])
    with pytest.raises(ValueError, match=f"d_out's {name}: expected dtype float64, got float32"):
      jax.eval_shape(run, d_last, d_y.astype(jnp.float32))
    for i, name in enumerate(names):
      wrong = tree.unflatten([*leaves[:i], leaves[i][:, :1], *leaves[i + 1 :]])
      with pytest.raises(ValueError, match=rf"d_out's {name}: .* \(3, 3\), got \(3, 1\)"):
        jax.eval_shape(run, wrong, d_y)


@pytest.mark.parametrize("reset_after", [False, True])
def test_a_mismatch_of_reset_after_and_params_is_refused(reset_after):
  (params, xs, carry), d_out = draw(gru, {"reset_after": not reset_after})
  with pytest.raises(ValueError, match=f"reset_after: .* but reset_after={reset_after} means"):
    gru_gradients.scan_vjp(params, xs, carry, d_out=d_out, reset_after=reset_after)
  d_out = d_out[0], d_out[1][:, 0]
  with pytest.raises(ValueError, match=f"reset_after: .* but reset_after={reset_after} means"):
    gru_gradients.cell_vjp(params, carry, xs[:, 0], d_out=d_out, reset_after=reset_after)


@each_rule
def test_cotangents_have_the_dtypes_of_their_inputs(layer, rules, options):
  (params, xs, carry), d_out = draw(layer, options)
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
  xs, carry, d_out = jax.tree.map(lambda a: a.astype(jnp.float32), (xs, carry, d_out))
  inputs = params, xs, carry
  for found in (
      jax.eval_shape(lambda: rules.scan_vjp(*inputs, d_out=d_out, **options)),
      jax.eval_shape(lambda: jax.vjp(functools.partial(layer.scan, **options), *inputs)[1](d_out)),
  ):
    assert jax.tree.map(jnp.result_type, found) == jax.tree.map(jnp.result_type, inputs)


def test_before_returns_the_state_after_the_previous_step():
  after = jnp.array([[1.0], [2.0], [3.0]])
  first = jnp.array([9.0])
  before = functools.partial(bptt.before, first, after)
  np.testing.assert_array_equal(before(reverse=False), [[9], [1], [2]])
  np.testing.assert_array_equal(before(reverse=True), [[2], [3], [9]])


def test_products_and_sums_are_over_all_leading_dimensions():
  rng = np.random.default_rng(0)
  x, y = rng.normal(size=(4, 2, 3)), rng.normal(size=(4, 2, 5))
  product, total = jax.jit(bptt.contract_and_sum)(jnp.asarray(x), jnp.asarray(y))
  expected = sum(np.outer(x[i], y[i]) for i in np.ndindex(4, 2))
  np.testing.assert_allclose(product, expected, atol=1e-13)
  np.testing.assert_allclose(total, sum(y[i] for i in np.ndindex(4, 2)), atol=1e-13)


def test_ids_and_one_hot_vectors_have_the_same_gradient():
  rng = np.random.default_rng(0)
  kernel, d_a = jnp.asarray(rng.normal(size=(5, 6))), jnp.asarray(rng.normal(size=(4, 2, 6)))
  ids = jnp.asarray([[0, 3], [3, 3], [1, 0], [3, 4]])  # 2 never occurs.
  d_kernel, d_xs = bptt.gate_inputs_vjp(kernel, ids, d_a)
  expected, _ = bptt.gate_inputs_vjp(kernel, jnp.eye(5)[ids], d_a)
  np.testing.assert_allclose(d_kernel, expected, atol=1e-13)
  assert d_xs is None
  np.testing.assert_array_equal(d_kernel[2], 0)
