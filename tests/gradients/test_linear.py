"""The linear rule: an example by hand, sums over examples, dtypes, invalid input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import linear as gradients

KERNEL = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


@eager_and_jit
def test_one_example_by_hand(x64, compile_):
  params = {"kernel": jnp.asarray(KERNEL), "bias": jnp.zeros(2)}
  x, d_y = jnp.asarray([1.0, 0.0, -1.0]), jnp.asarray([10.0, 1.0])
  d_params, d_x = compile_(gradients.apply_vjp)(params, x, d_out=d_y)
  np.testing.assert_array_equal(d_x, [12, 34, 56])
  np.testing.assert_array_equal(d_params["kernel"], [[10, 1], [0, 0], [-10, -1]])
  np.testing.assert_array_equal(d_params["bias"], [10, 1])


@eager_and_jit
def test_examples_add_up_over_several_leading_dimensions(x64, compile_):
  rng = np.random.default_rng(0)
  x, d_y = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, 2, 2))
  params = {"kernel": jnp.asarray(KERNEL), "bias": jnp.zeros(2)}
  d_params, d_x = compile_(gradients.apply_vjp)(params, jnp.asarray(x), d_out=jnp.asarray(d_y))
  d_kernel = np.zeros((3, 2))
  for a, b, i, j in np.ndindex(2, 2, 3, 2):
    d_kernel[i, j] += x[a, b, i] * d_y[a, b, j]
  np.testing.assert_allclose(d_params["kernel"], d_kernel, rtol=1e-12)
  np.testing.assert_allclose(d_params["bias"], d_y.sum((0, 1)), rtol=1e-12)
  np.testing.assert_allclose(d_x, d_y @ KERNEL.T, rtol=1e-12)


def test_without_a_bias_there_is_no_cotangent_of_one():
  d_params, _ = gradients.apply_vjp({"kernel": jnp.ones((3, 2))}, jnp.ones(3), d_out=jnp.ones(2))
  assert set(d_params) == {"kernel"}


@eager_and_jit
def test_huge_and_tiny_numbers_are_exact(compile_):
  params = {"kernel": jnp.full((3, 2), 1e30), "bias": jnp.zeros(2)}
  d_params, d_x = compile_(gradients.apply_vjp)(
      params, jnp.full((4, 3), 1e30), d_out=jnp.full((4, 2), 1e-30)
  )
  np.testing.assert_allclose(d_x, 2, rtol=1e-6)
  np.testing.assert_allclose(d_params["kernel"], 4, rtol=1e-6)


@eager_and_jit
def test_bfloat16_sums_over_many_examples_are_accurate(compile_):
  params = {"kernel": jnp.ones((1, 1), jnp.bfloat16), "bias": jnp.zeros(1, jnp.bfloat16)}
  ones = jnp.ones((4096, 1), jnp.bfloat16)
  d_params, d_x = compile_(gradients.apply_vjp)(params, ones, d_out=ones)
  assert d_params["bias"] == 4096 and d_params["kernel"] == 4096
  assert {d.dtype for d in (*d_params.values(), d_x)} == {jnp.dtype(jnp.bfloat16)}


def test_every_cotangent_has_the_dtype_of_its_input():
  params = {"kernel": jnp.ones((3, 2)), "bias": jnp.ones(2)}
  x = jnp.ones(3, jnp.bfloat16)
  d_params, d_x = gradients.apply_vjp(params, x, d_out=jnp.ones(2))
  assert d_x.dtype == jnp.bfloat16
  assert d_params["kernel"].dtype == d_params["bias"].dtype == jnp.float32


def test_invalid_input_is_reported():
  params, x = {"kernel": jnp.ones((3, 2))}, jnp.ones((4, 3))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(4, 2\), got \(4, 3\)"):
    gradients.apply_vjp(params, x, d_out=x)
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got int32"):
    gradients.apply_vjp(params, x, d_out=jnp.ones((4, 2), jnp.int32))
