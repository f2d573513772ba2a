"""Gradients of attention at extreme scores, and second derivatives.

The properties of all rules (jax.vjp, differences, dtypes, vmap) are in test_rules.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import attention as gradients
from dlx.gradients import blocked_attention
from dlx.layers import attention

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
# Blocks of 2 queries and 3 keys: 4 queries and 5 keys have whole, cut and padded ones.
each_rule = pytest.mark.parametrize(
    "rule",
    [
        gradients.dot_product_attention_vjp,
        functools.partial(blocked_attention.dot_product_attention_vjp, sizes=(2, 3)),
    ],
    ids=["whole", "blocks"],
)


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.sampled(2)
@eager_and_jit
@each_rule
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_huge_scores_select_one_key(rule, compile_, dtype):
  """One score of a row exceeds the others by 1e4: O is that key's value."""
  chosen = np.array([3, 0, 4, 3])
  query = jnp.asarray(100 * np.eye(5)[chosen], dtype)
  key = jnp.asarray(100 * np.eye(5), dtype)
  value, d_out = (x.astype(dtype) for x in draw((5, 3), (4, 3)))
  rule = compile_(functools.partial(rule, scale=1.0))
  d_query, d_key, d_value = rule(query, key, value, d_out=d_out)
  eps = float(jnp.finfo(dtype).eps)
  # A is one-hot and so d_S = A (d_A - rowsum(A d_A)) = 0, up to the rounding of two sums of
  # three products, times keys of size 100.
  for d in (d_query, d_key):
    np.testing.assert_allclose(np.asarray(d, np.float64), 0, atol=100 * 8 * eps)
  expected = np.zeros((5, 3))
  np.add.at(expected, chosen, np.asarray(d_out, np.float64))
  np.testing.assert_allclose(np.asarray(d_value, np.float64), expected, atol=2 * eps)


@eager_and_jit
@each_rule
def test_tiny_scores_give_all_keys_the_same_weight(x64, rule, compile_):
  query, key, value, d_out = draw((4, 2), (5, 2), (5, 3), (4, 3))
  rule = compile_(functools.partial(rule, scale=1e-300))
  d_query, d_key, d_value = rule(query, key, value, d_out=d_out)
  np.testing.assert_allclose(d_value, np.tile(d_out.sum(0) / 5, (5, 1)), rtol=1e-14)
  # d_Q / c = d_S K with A = 1/5: (v_s - mean v) . d_o / 5, summed with the keys.
  d_s = d_out @ (value - value.mean(0)).T / 5
  np.testing.assert_allclose(d_query / 1e-300, d_s @ key, rtol=1e-12)
  np.testing.assert_allclose(d_key / 1e-300, d_s.T @ query, rtol=1e-12)


def all_far_below(dtype, number):
  """(arrays, the gradients) where all keys of rows 1 and 3 have the same huge negative bias.

  Scores of those rows are equal after rounding, so A = 1/5 there; in exact arithmetic.
  """
  query, key, value, d_out = (np.float64(x) for x in draw((4, 2), (5, 2), (5, 3), (4, 3)))
  bias = np.zeros((4, 1))
  bias[[1, 3]] = number
  s = np.where(bias < 0, 0, query @ key.T / np.sqrt(2))
  a = np.exp(s) / np.exp(s).sum(-1, keepdims=True)
  d_a = d_out @ value.T
  d_s = a * (d_a - (a * d_a).sum(-1, keepdims=True))
  d_query, d_key = d_s @ key / np.sqrt(2), d_s.T @ query / np.sqrt(2)
  arrays = [jnp.asarray(x, dtype) for x in (query, key, value, bias, d_out)]
  return arrays, (d_query, d_key, a.T @ d_out, d_s.sum(-1, keepdims=True))


FAR_BELOW = [(jnp.float32, -1e9), (jnp.float32, "smallest"), (jnp.float64, -1e18),
             (jnp.float64, "smallest"), (jnp.bfloat16, -1e9)]  # fmt: skip


@pytest.mark.sampled(3)
@eager_and_jit
@each_rule
@pytest.mark.parametrize("dtype, number", FAR_BELOW)
def test_a_huge_negative_bias_of_all_keys_leaves_their_weights_equal(
    x64, rule, compile_, dtype, number
):
  number = float(jnp.finfo(dtype).min) if number == "smallest" else number
  (query, key, value, bias, d_out), expected = all_far_below(dtype, number)
  found = compile_(rule)(query, key, value, bias, d_out=d_out)
  for x, y in zip(found, expected, strict=True):
    np.testing.assert_allclose(np.float64(x), y, atol=20 * float(jnp.finfo(dtype).eps))


@pytest.mark.full
@pytest.mark.parametrize("dtype, number", [(jnp.float32, -1e9), (jnp.float64, -1e18)])
def test_so_do_the_layers_and_their_second_derivatives(x64, dtype, number, monkeypatch):
  monkeypatch.setattr(attention, "block_sizes", lambda query_shape, key_shape: (2, 3))
  (*arrays, d_out), expected = all_far_below(dtype, number)
  seconds = []
  for implementation in ("autodiff", "blocked"):
    attended = functools.partial(attention.dot_product_attention, implementation=implementation)
    first = lambda *args: jax.vjp(attended, *args)[1](d_out)  # noqa: B023, E731
    for x, y in zip(jax.jit(first)(*arrays), expected, strict=True):
      np.testing.assert_allclose(x, y, atol=20 * float(jnp.finfo(dtype).eps))
    squares = lambda *args: sum((d**2).sum() for d in first(*args))  # noqa: B023, E731
    seconds.append(jax.jit(jax.grad(squares, (0, 1, 2)))(*arrays))
  for x, y in zip(*seconds, strict=True):
    np.testing.assert_allclose(x, y, atol=100 * float(jnp.finfo(dtype).eps))


@eager_and_jit
@each_rule
def test_masked_keys_may_be_infinite(x64, rule, compile_):
  """A masked key with a score of inf has no weight and causes no nan elsewhere."""
  query, key, value, d_out = draw((4, 2), (5, 2), (5, 3), (4, 3))
  allowed = jnp.arange(5) < 3
  rule = compile_(rule)
  exact = rule(query, key[:3], value[:3], d_out=d_out)
  far = key.at[3:].set(1e200), value.at[3:].set(1e200)
  found = rule(query, *far, d_out=d_out, mask=allowed)
  np.testing.assert_allclose(found[0], exact[0], rtol=1e-12)
  for x, y in zip(found[1:], exact[1:]):
    np.testing.assert_allclose(x[:3], y, rtol=1e-12)
    np.testing.assert_array_equal(x[3:], 0)


@pytest.mark.sampled(2)
@each_rule
@pytest.mark.parametrize("shape", [(4, 5), (5,), (4, 1), (3, 1, 1, 1), (3, 2, 4, 5), ()])
def test_a_bias_that_broadcasts_has_the_summed_gradient_of_the_whole_bias(x64, rule, shape):
  *args, d_out, bias = draw((3, 2, 4, 2), (3, 2, 5, 2), (3, 2, 5, 3), (3, 2, 4, 3), shape)
  rule = functools.partial(jax.jit(rule), d_out=d_out)
  of_whole = rule(*args, jnp.broadcast_to(bias, (3, 2, 4, 5)))[3]
  # The weights do not change when a constant is added to all scores of a row.
  np.testing.assert_allclose(of_whole.sum(-1), 0, atol=1e-14)
  expected = jax.linear_transpose(lambda b: jnp.broadcast_to(b, (3, 2, 4, 5)), bias)(of_whole)[0]
  np.testing.assert_allclose(rule(*args, bias)[3], expected, atol=1e-13)


@eager_and_jit
@each_rule
def test_a_capped_score_has_no_gradient_but_its_bias_has(x64, rule, compile_):
  query, key, value, d_out, bias = draw((4, 2), (5, 2), (5, 3), (4, 3), (4, 5))
  rule = compile_(functools.partial(rule, d_out=d_out, softcap=2.0))
  d_query, d_key, _, d_bias = rule(1e200 * query, key, value, bias)
  for d in (d_query, d_key):
    np.testing.assert_array_equal(d, 0)
  a = jax.nn.softmax(2 * jnp.sign(query @ key.T) + bias)
  np.testing.assert_allclose(d_bias, jax.vjp(jax.nn.softmax, jnp.log(a))[1](d_out @ value.T)[0],
                             atol=1e-14)  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("blocked", [False, True], ids=["whole", "blocks"])
def test_self_attention_with_a_bias(x64, blocked):
  """multi_head's rule without a context; with one it is among the cases."""
  params = attention.init(jax.random.key(0), 8, d_key=4)
  x, d_out, bias = draw((2, 5, 8), (2, 5, 8), (4, 5, 5))
  options = {"num_heads": 4, "local_window_size": (2, 1)}
  implementation = "blocked" if blocked else "autodiff"
  layer = functools.partial(attention.multi_head, **options, implementation=implementation)
  found = jax.jit(functools.partial(gradients.multi_head_vjp, **options))(
      params, x, None, bias, d_out=d_out
  )
  _, vjp = jax.vjp(lambda params, x, bias: layer(params, x, None, bias), params, x, bias)
  for a, b in zip(*map(jax.tree.leaves, (found, vjp(d_out))), strict=True):
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)  # The params are float32.


@pytest.mark.full
@pytest.mark.parametrize("heads, bias, options, compile_", [
    (2, [], {}, lambda f: f), (2, [], {}, jax.jit), (2, [], {"is_causal": True}, lambda f: f),
    (2, [], {"is_causal": True}, jax.jit),
    (1, [(4, 5)], {"local_window_size": (2, 1), "softcap": 0.8}, jax.jit),
])  # fmt: skip
def test_the_blocked_layer_has_the_second_derivatives_of_the_unblocked_one(
    x64, heads, bias, options, compile_, monkeypatch
):
  monkeypatch.setattr(attention, "block_sizes", lambda query_shape, key_shape: (2, 3))
  sizes = (2, 4, 2), (heads, 5, 2), (heads, 5, 3), *bias
  args, directions = draw(*sizes), draw(*sizes, seed=1)
  (target,) = draw((2, 4, 3), seed=2)

  def hessian_product(implementation):
    def loss(args):
      out = attention.dot_product_attention(*args, **options, implementation=implementation)
      return ((out - target) ** 2).sum()

    def slope(args):
      return sum((g * v).sum() for g, v in zip(jax.grad(loss)(args), directions))

    return compile_(jax.grad(slope))(args)

  for found, expected in zip(hessian_product("blocked"), hessian_product("autodiff")):
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
