"""Embedding rules: repeated ids, ids out of range, tied tables, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import embedding as gradients
from dlx.layers import embedding

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def params(vocab_size, d, dtype=jnp.float32):
  table = np.random.default_rng(0).normal(size=(vocab_size, d))
  return {"embedding": jnp.asarray(table, dtype)}


@eager_and_jit
def test_repeated_ids_add_up_and_unused_rows_get_zero(compile_):
  d_out = jnp.asarray([[[1.0, 2.0], [10.0, 20.0]], [[100.0, 200.0], [1000.0, 2000.0]]])
  d_params = compile_(gradients.lookup_vjp)(
      params(4, 2), ids=jnp.asarray([[3, 0], [3, 3]]), d_out=d_out
  )
  np.testing.assert_array_equal(
      d_params["embedding"], [[10, 20], [0, 0], [0, 0], [1101, 2202]]
  )


@eager_and_jit
@pytest.mark.parametrize("outside", [4, 1000, -1, -4, -5])
def test_an_id_out_of_range_contributes_nothing_as_in_the_layer(outside, compile_):
  ids, d_out = jnp.asarray([1, outside, 1]), jnp.asarray([[1.0], [10.0], [100.0]])
  d_params = compile_(gradients.lookup_vjp)(params(4, 1), ids=ids, d_out=d_out)
  np.testing.assert_array_equal(d_params["embedding"], [[0], [101], [0], [0]])
  by_jax = jax.vjp(lambda p: embedding.lookup(p, ids), params(4, 1))[1](d_out)[0]
  np.testing.assert_array_equal(by_jax["embedding"], d_params["embedding"])


def test_one_id_without_leading_dimensions_and_small_integers():
  for dtype in (jnp.int32, jnp.uint8):
    d_params = gradients.lookup_vjp(
        params(3, 2), ids=jnp.asarray(2, dtype), d_out=jnp.asarray([5.0, 7.0])
    )
    np.testing.assert_array_equal(d_params["embedding"], [[0, 0], [0, 0], [5, 7]])


@eager_and_jit
def test_many_uses_of_a_bfloat16_row_add_up(compile_):
  d_params = compile_(gradients.lookup_vjp)(
      params(2, 1, jnp.bfloat16),
      ids=jnp.zeros(4096, jnp.int32),
      d_out=jnp.ones((4096, 1), jnp.bfloat16),
  )
  assert d_params["embedding"].dtype == jnp.bfloat16
  np.testing.assert_array_equal(d_params["embedding"], [[4096], [0]])


@eager_and_jit
def test_logits_by_hand(x64, compile_):
  table = {"embedding": jnp.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])}
  x = jnp.asarray([[1.0, -1.0], [2.0, 0.0]])
  d_out = jnp.asarray([[1.0, 0.0, 10.0], [0.0, 1.0, 0.0]])
  d_params, d_x = compile_(gradients.logits_vjp)(table, x, d_out=d_out)
  np.testing.assert_array_equal(d_x, [[51, 62], [3, 4]])
  np.testing.assert_array_equal(d_params["embedding"], [[1, -1], [2, 0], [10, -10]])


def test_a_tied_table_gets_the_sum_of_both_uses(x64):
  table, ids = params(3, 2, jnp.float64), jnp.asarray([2, 0, 2])
  d_out = jnp.asarray(np.random.default_rng(1).normal(size=(3, 3)))
  by_jax = jax.vjp(lambda p: embedding.logits(p, embedding.lookup(p, ids)), table)[1](d_out)[0]
  d_outer, d_x = gradients.logits_vjp(table, embedding.lookup(table, ids), d_out=d_out)
  d_inner = gradients.lookup_vjp(table, ids=ids, d_out=d_x)
  total = d_inner["embedding"] + d_outer["embedding"]
  np.testing.assert_allclose(total, by_jax["embedding"], rtol=1e-12)


def test_every_cotangent_has_the_dtype_of_its_input():
  d_params, d_x = gradients.logits_vjp(
      params(3, 2), jnp.ones(2, jnp.bfloat16), d_out=jnp.ones(3)
  )
  assert d_x.dtype == jnp.bfloat16 and d_params["embedding"].dtype == jnp.float32


def test_invalid_input_is_reported():
  table, ids = params(4, 2), jnp.asarray([1, 2, 3])
  with pytest.raises(ValueError, match=r"d_out: expected shape \(3, 2\), got \(2, 2\)"):
    gradients.lookup_vjp(table, ids=ids, d_out=jnp.ones((2, 2)))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    gradients.lookup_vjp(table, ids=ids, d_out=jnp.ones((3, 2), jnp.bfloat16))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(3, 4\), got \(3, 2\)"):
    gradients.logits_vjp(table, jnp.ones((3, 2)), d_out=jnp.ones((3, 2)))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got float16"):
    gradients.logits_vjp(table, jnp.ones(2), d_out=jnp.ones(4, jnp.float16))
