"""Pooling of sequences: values, and padding that changes neither values nor gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import pooling

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
HOW = ("mean", "max", "first", "last", "attention")
LENGTHS = (6, 4, 1)
MASK = np.arange(6) < np.array(LENGTHS)[:, None]


def pooled(how, params):
  if how == "attention":
    return lambda x, mask=None: pooling.attention_pool(params, x, mask)
  return lambda x, mask=None: pooling.pool(x, mask, how=how)


def expected(how, params, row):
  if how != "attention":
    return {"mean": row.mean(0), "max": row.max(0), "first": row[0], "last": row[-1]}[how]
  kernel, bias = (np.asarray(params["key"][name]) for name in ("kernel", "bias"))
  scores = np.tanh(row @ kernel + bias) @ np.asarray(params["query"])
  weights = np.exp(scores) / np.exp(scores).sum()
  return weights @ row


def drawn():
  params = pooling.init_attention(jax.random.key(1), 8, 5)
  params["key"]["bias"] = params["key"]["bias"] + 0.3
  return params, np.random.default_rng(2).normal(size=(3, 6, 8))


@compiled
@pytest.mark.parametrize("how", HOW)
def test_the_vector_is_that_of_the_valid_steps(x64, how, compile_):
  params, x = drawn()
  pool = compile_(pooled(how, params))
  found = pool(x, MASK)
  for row, n, y in zip(x, LENGTHS, found):
    np.testing.assert_allclose(y, expected(how, params, row[:n]), rtol=1e-12)
  np.testing.assert_allclose(pool(x)[1], expected(how, params, x[1]), rtol=1e-12)
  stacked = pool(np.stack([x, x[::-1]]), np.stack([MASK, MASK[::-1]]))
  np.testing.assert_allclose(stacked[1], found[::-1], rtol=1e-12)


@pytest.mark.parametrize("how", HOW)
def test_padding_has_no_gradient_and_may_hold_nan(x64, how):
  params, x = drawn()

  def loss(params, x):
    return (pooled(how, params)(x, MASK) ** 2).sum()

  value, (d_params, d_x) = jax.jit(jax.value_and_grad(loss, (0, 1)))(params, x)
  assert not np.any(d_x[~MASK]) and np.abs(d_x[0]).max() > 1e-3
  broken = jax.jit(jax.value_and_grad(loss, (0, 1)))(
      params, np.where(MASK[..., None], x, np.nan)
  )
  for a, b in zip(jax.tree.leaves(broken), jax.tree.leaves((value, (d_params, d_x)))):
    np.testing.assert_allclose(a, b, rtol=1e-12)


def test_attention_weights_are_0_in_the_padding_and_in_the_dtype_of_x():
  params, x = drawn()
  weights = pooling.attention_weights(params, jnp.asarray(x, jnp.bfloat16), MASK)
  assert weights.dtype == jnp.bfloat16 and not np.any(np.asarray(weights)[~MASK])
  np.testing.assert_allclose(np.float64(weights).sum(-1), 1, atol=2e-2)


def test_an_unknown_way_is_refused():
  with pytest.raises(ValueError, match="how: expected mean, max, first or last, got 'median'"):
    pooling.pool(jnp.zeros((2, 3)), how="median")
