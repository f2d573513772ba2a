"""The linear layer: values, gradient, initial scale, dtypes, errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import linear


def reference(x, kernel, bias):
  """y_j = sum_i x_i W_ij + b_j, in plain loops."""
  y = np.zeros(kernel.shape[1])
  for j in range(kernel.shape[1]):
    for i in range(kernel.shape[0]):
      y[j] += x[i] * kernel[i, j]
    y[j] += bias[j]
  return y


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape) for shape in shapes]


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_y_is_the_sum_over_inputs_plus_the_bias(x64, compile_):
  kernel, bias, x = draw((3, 4), (4,), (3,))
  params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
  y = compile_(linear.apply)(params, jnp.asarray(x))
  assert y.dtype == jnp.float64
  np.testing.assert_allclose(y, reference(x, kernel, bias), rtol=1e-12)


def test_without_a_bias_the_layer_is_the_matrix_product(x64):
  kernel, x = draw((3, 4), (3,))
  params = {"kernel": jnp.asarray(kernel)}
  np.testing.assert_allclose(
      linear.apply(params, jnp.asarray(x)), reference(x, kernel, np.zeros(4)), rtol=1e-12
  )
  np.testing.assert_array_equal(linear.apply(params, jnp.zeros(3)), np.zeros(4))


def test_leading_dimensions_are_a_batch(x64):
  kernel, bias, x = draw((3, 4), (4,), (2, 5, 3))
  params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
  y = linear.apply(params, jnp.asarray(x))
  each = [[reference(row, kernel, bias) for row in rows] for rows in x]
  np.testing.assert_allclose(y, each, rtol=1e-12, atol=1e-14)
  over_both = jax.vmap(jax.vmap(linear.apply, (None, 0)), (None, 0))
  np.testing.assert_allclose(over_both(params, jnp.asarray(x)), y, rtol=1e-12, atol=1e-14)


def test_gradients_match_those_of_a_matrix_product(x64):
  kernel, bias, x, d_y = draw((3, 4), (4,), (5, 3), (5, 4))
  params = {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}
  _, vjp = jax.vjp(linear.apply, params, jnp.asarray(x))
  d_params, d_x = vjp(jnp.asarray(d_y))
  np.testing.assert_allclose(d_params["kernel"], x.T @ d_y, rtol=1e-12)
  np.testing.assert_allclose(d_params["bias"], d_y.sum(0), rtol=1e-12)
  np.testing.assert_allclose(d_x, d_y @ kernel.T, rtol=1e-12)


def test_init_keeps_the_variance_of_activations():
  params = linear.init(jax.random.key(0), 256, 300)
  assert {name: p.shape for name, p in params.items()} == {"kernel": (256, 300), "bias": (300,)}
  np.testing.assert_array_equal(params["bias"], 0)
  # With 76,800 entries, 3 percent are more than five standard deviations.
  assert 256 * np.var(params["kernel"]) == pytest.approx(1, rel=0.03)


def test_init_without_a_bias():
  assert set(linear.init(jax.random.key(0), 3, 4, bias=False)) == {"kernel"}


def test_init_depends_on_the_key_only():
  first, same, other = (linear.init(jax.random.key(seed), 3, 4)["kernel"] for seed in (0, 0, 1))
  np.testing.assert_array_equal(first, same)
  assert not np.any(first == other)


def test_bfloat16_stays_bfloat16():
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), linear.init(jax.random.key(0), 3, 4))
  assert linear.apply(params, jnp.ones((2, 3), jnp.bfloat16)).dtype == jnp.bfloat16


@pytest.mark.parametrize("shape", [(2, 4), ()])
def test_a_wrong_last_dimension_is_named(shape):
  params = linear.init(jax.random.key(0), 3, 4)
  with pytest.raises(ValueError, match=r"x: expected a last dimension of 3, got shape \("):
    linear.apply(params, jnp.zeros(shape))
