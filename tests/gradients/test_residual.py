"""The rule of the residual sum: an example by hand, the sum for the factor, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import residual as gradients

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


@eager_and_jit
@pytest.mark.parametrize("factor", [0.5, 0.0, 1.0, -2.0])
def test_an_example_by_hand(factor, compile_):
  x, branch = jnp.asarray([[1.0, 2.0], [3.0, 4.0]]), jnp.ones((2, 2))
  d_out = jnp.asarray([[1.0, 10.0], [100.0, 1000.0]])
  d_x, d_branch, d_factor = compile_(gradients.add_vjp)(x, branch, factor, d_out=d_out)
  np.testing.assert_array_equal(d_x, factor * d_out)
  np.testing.assert_array_equal(d_branch, d_out)
  assert d_factor == 4321 and d_factor.shape == ()


@eager_and_jit
def test_the_sum_for_the_factor_is_in_float32(compile_):
  # (1 + e)^2 - (1 + 2e) = e^2 with e = 2^-7: in bfloat16 the square is 1 + 2e.
  e = 2.0**-7
  x, d_out = jnp.asarray([1 + e, 1], jnp.bfloat16), jnp.asarray([1 + e, -1 - 2 * e], jnp.bfloat16)
  cotangents = compile_(gradients.add_vjp)(x, x, jnp.asarray(1, jnp.bfloat16), d_out=d_out)
  assert {d.dtype for d in cotangents} == {jnp.dtype(jnp.bfloat16)}
  assert cotangents[2] == e**2


def test_the_cotangent_passes_many_layers_unchanged():
  # The skip of He et al.: with k = 1 and branches without weight nothing is lost.
  x, d = jnp.ones(3), jnp.asarray([1.0, -2.0, 3.0])
  d_x = d
  for _ in range(100):
    d_x, _, _ = gradients.add_vjp(x, jnp.zeros(3), 1.0, d_out=d_x)
  np.testing.assert_array_equal(d_x, d)


def test_invalid_input_is_reported():
  x = jnp.ones((2, 3))
  with pytest.raises(ValueError, match=r"branch: expected shape \(2, 3\), got \(3,\)"):
    gradients.add_vjp(x, jnp.ones(3), 1.0, d_out=x)
  with pytest.raises(ValueError, match=r"factor: expected shape \(\), got \(3,\)"):
    gradients.add_vjp(x, x, jnp.ones(3), d_out=x)
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 3\), got \(2,\)"):
    gradients.add_vjp(x, x, 1.0, d_out=jnp.ones(2))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got float16"):
    gradients.add_vjp(x, x, 1.0, d_out=x.astype(jnp.float16))
