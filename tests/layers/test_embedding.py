"""Embedding: lookup, ids out of range, the tied output, initial scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import embedding

IDS = np.array([[0, 4, 2], [2, 2, 1]])


def table(dtype=np.float64):
  return np.random.default_rng(0).normal(size=(5, 3)).astype(dtype)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_lookup_is_the_product_with_a_one_hot_matrix(x64, compile_):
  one_hot = (IDS[..., None] == np.arange(5)).astype(np.float64)
  y = compile_(embedding.lookup)({"embedding": jnp.asarray(table())}, jnp.asarray(IDS))
  np.testing.assert_array_equal(y, np.einsum("btv,vd->btd", one_hot, table()))


def test_lookup_of_one_id_and_by_vmap_give_the_same_rows(x64):
  params = {"embedding": jnp.asarray(table())}
  np.testing.assert_array_equal(embedding.lookup(params, jnp.asarray(4)), table()[4])
  each = jax.vmap(embedding.lookup, (None, 0))(params, jnp.asarray(IDS))
  np.testing.assert_array_equal(each, embedding.lookup(params, jnp.asarray(IDS)))


def test_the_gradient_of_a_row_is_the_sum_over_its_uses(x64):
  d_y = np.random.default_rng(1).normal(size=(2, 3, 3))
  _, vjp = jax.vjp(lambda p: embedding.lookup(p, jnp.asarray(IDS)), {"embedding": table()})
  expected = np.zeros((5, 3))
  for place in np.ndindex(IDS.shape):
    expected[IDS[place]] += d_y[place]
  np.testing.assert_allclose(vjp(jnp.asarray(d_y))[0]["embedding"], expected, rtol=1e-12)


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("outside", [5, 1000, -1, -5, -6])
def test_an_id_out_of_range_gives_nan_and_does_not_affect_others(outside, compile_):
  rows = table(np.float32)
  ids = jnp.array([1, outside, 3])
  y = np.asarray(compile_(embedding.lookup)({"embedding": jnp.asarray(rows)}, ids))
  assert np.isnan(y[1]).all()
  np.testing.assert_array_equal(y[[0, 2]], rows[[1, 3]])


def test_ids_must_be_integers():
  params = embedding.init(jax.random.key(0), 5, 3)
  with pytest.raises(ValueError, match="ids: expected integers, got float32"):
    embedding.lookup(params, jnp.array([0.0, 1.0]))


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_logits_are_the_scalar_products_with_each_row(x64, compile_):
  x = np.random.default_rng(1).normal(size=(2, 4, 3))
  scores = compile_(embedding.logits)({"embedding": jnp.asarray(table())}, jnp.asarray(x))
  assert scores.shape == (2, 4, 5)
  for b, t, v in np.ndindex(2, 4, 5):
    expected = sum(x[b, t, d] * table()[v, d] for d in range(3))
    np.testing.assert_allclose(scores[b, t, v], expected, rtol=1e-12, atol=1e-14)


def test_tied_weights_receive_the_gradient_of_both_uses(x64):
  target = jnp.asarray([1.0, -2.0, 0.5, 3.0, -1.0])

  def loss(inner, outer):
    x = embedding.lookup({"embedding": inner}, jnp.asarray(2))
    return embedding.logits({"embedding": outer}, x) @ target

  e = jnp.asarray(table())
  tied = jax.grad(lambda e: loss(e, e))(e)
  as_input, as_output = jax.grad(loss, (0, 1))(e, e)
  np.testing.assert_allclose(tied, as_input + as_output, rtol=1e-12)
  # By hand: E[2] . sum_v target_v E[v].
  by_hand = np.outer(target, table()[2])
  by_hand[2] += np.asarray(target) @ table()
  np.testing.assert_allclose(tied, by_hand, rtol=1e-12)


def test_a_wrong_last_dimension_is_named():
  params = embedding.init(jax.random.key(0), 5, 3)
  with pytest.raises(ValueError, match=r"x: expected a last dimension of 3, got shape \(2, 5\)"):
    embedding.logits(params, jnp.zeros((2, 5)))


def test_init_draws_rows_of_expected_squared_norm_one():
  params = embedding.init(jax.random.key(0), 400, 200)
  assert set(params) == {"embedding"} and params["embedding"].shape == (400, 200)
  assert np.mean(np.sum(params["embedding"] ** 2, axis=-1)) == pytest.approx(1, rel=0.03)
