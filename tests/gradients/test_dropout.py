"""The dropout rule: the mask of the forward pass, dropped units, invalid input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import dropout as gradients
from dlx.layers.dropout import dropout

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


@eager_and_jit
@pytest.mark.parametrize("broadcast_dims", [(), (-2,), (0, 1)], ids=str)
def test_the_mask_equals_that_of_the_forward_pass(broadcast_dims, compile_):
  key = jax.random.key(3)
  options = {"rate": 0.4, "broadcast_dims": broadcast_dims}
  y = np.asarray(dropout(key, jnp.ones((3, 4, 9)), **options))
  assert 0 < (y == 0).mean() < 1
  d_out = 1 + jnp.arange(108.0).reshape(3, 4, 9)
  rule = compile_(functools.partial(gradients.dropout_vjp, rng=key, **options))
  d_x = rule(jnp.ones((3, 4, 9)), d_out=d_out)
  np.testing.assert_allclose(d_x, np.where(y != 0, d_out / 0.6, 0), rtol=1e-6)


@eager_and_jit
def test_a_dropped_unit_gets_zero_even_from_a_nan(compile_):
  key, x = jax.random.key(0), jnp.ones(50)
  kept = np.asarray(dropout(key, x, rate=0.5)) != 0
  rule = compile_(functools.partial(gradients.dropout_vjp, rng=key, rate=0.5))
  d_x = rule(x, d_out=jnp.where(kept, 1.0, jnp.nan))
  np.testing.assert_array_equal(d_x, np.where(kept, 2.0, 0.0))


def test_the_values_of_x_do_not_matter():
  key, d_out = jax.random.key(0), jnp.arange(20.0)
  first, other = (
      gradients.dropout_vjp(jnp.full(20, x), rng=key, rate=0.5, d_out=d_out)
      for x in (1.0, jnp.nan)
  )
  np.testing.assert_array_equal(first, other)


@pytest.mark.parametrize("rate", [0, 0.0])
def test_rate_zero_passes_the_cotangent(rate):
  d_out = jnp.asarray([1.0, -jnp.inf, 3.0])
  d_x = gradients.dropout_vjp(jnp.ones(3), rng=jax.random.key(0), rate=rate, d_out=d_out)
  np.testing.assert_array_equal(d_x, d_out)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.float32])
def test_the_dtype_equals_that_of_x(dtype):
  ones = jnp.ones(8, dtype)
  d_x = gradients.dropout_vjp(ones, rng=jax.random.key(0), rate=0.5, d_out=ones)
  assert d_x.dtype == dtype


def test_invalid_input_is_reported():
  rule = functools.partial(gradients.dropout_vjp, rng=jax.random.key(0), rate=0.5)
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 3\), got \(3, 2\)"):
    rule(jnp.ones((2, 3)), d_out=jnp.ones((3, 2)))
  with pytest.raises(ValueError, match="d_out: expected dtype bfloat16, got float32"):
    rule(jnp.ones(3, jnp.bfloat16), d_out=jnp.ones(3))
