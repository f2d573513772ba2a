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


@eager_and_jit
@pytest.mark.parametrize("is_causal", [False, True])
def test_the_blocked_layer_has_the_second_derivatives_of_the_unblocked_one(
    x64, compile_, is_causal, monkeypatch
):
  monkeypatch.setattr(attention, "block_sizes", lambda query_shape, key_shape: (2, 3))
  args = draw((2, 4, 2), (2, 5, 2), (2, 5, 3))
  directions = draw((2, 4, 2), (2, 5, 2), (2, 5, 3), seed=1)
  (target,) = draw((2, 4, 3), seed=2)

  def hessian_product(implementation):
    def loss(args):
      out = attention.dot_product_attention(
          *args, is_causal=is_causal, implementation=implementation
      )
      return ((out - target) ** 2).sum()

    def slope(args):
      return sum((g * v).sum() for g, v in zip(jax.grad(loss)(args), directions))

    return compile_(jax.grad(slope))(args)

  for found, expected in zip(hessian_product("blocked"), hessian_product("autodiff")):
    np.testing.assert_allclose(found, expected, atol=1e-11 * np.abs(expected).max())
