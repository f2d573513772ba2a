"""Attention with a cache: equal to the uncached form, whatever the pieces."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, kv_cache

pytestmark = pytest.mark.usefixtures("x64")


@pytest.mark.sampled(2)
@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("pieces", [(7,), (3, 4), (1,) * 7, (5, 1, 1)])
@pytest.mark.parametrize("jitted", [False, True])
def test_tokens_in_pieces_give_the_causal_attention_of_the_whole(rotary, pieces, jitted):
  x = jax.random.normal(jax.random.key(0), (2, 7, 12))
  params = attention.init(jax.random.key(1), 12)
  params = jax.tree.map(lambda p: p.astype(float) + 0.1, params)
  expected = attention.multi_head(params, x, num_heads=3, is_causal=True, rotary=rotary)
  cache = kv_cache.init((2,), 9, num_heads=3, d_model=12, dtype=float)
  # The rows that are not written yet must not matter.
  cache = jax.tree.map(lambda rows: rows + 99.0, cache)
  attend = lambda x, cache, p: kv_cache.attend(  # noqa: E731
      params, x, cache, p, num_heads=3, rotary=rotary
  )
  attend = jax.jit(attend) if jitted else attend
  found, position = [], 0
  for size in pieces:
    y, cache = attend(x[:, position : position + size], cache, jnp.int32(position))
    found.append(y)
    position += size
  np.testing.assert_allclose(np.concatenate(found, 1), expected, rtol=1e-12, atol=1e-12)


def test_the_cache_keeps_its_dtype_and_shape():
  x = jnp.ones((4, 8), jnp.float32)
  params = attention.init(jax.random.key(1), 8)
  cache = kv_cache.init((), 6, num_heads=2, d_model=8, dtype=jnp.bfloat16)
  _, after = kv_cache.attend(params, x, cache, 0, num_heads=2)
  assert jax.tree.map(lambda a: (a.shape, a.dtype), after) == jax.tree.map(
      lambda a: (a.shape, a.dtype), cache
  )
