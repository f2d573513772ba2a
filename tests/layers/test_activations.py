"""GELU: values in closed form, and both gradients."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import activations

X = np.concatenate([np.linspace(-6, 6, 49), [-100.0, 100.0]])
each_form = pytest.mark.parametrize("approximate", [True, False])


def normal_distribution(x):
  return 0.5 * (1 + math.erf(x / math.sqrt(2)))


@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "jit"])
def test_the_exact_form_is_x_times_the_normal_distribution(x64, compiled):
  gelu = functools.partial(activations.gelu, approximate=False)
  expected = [x * normal_distribution(x) for x in X]
  np.testing.assert_allclose((jax.jit(gelu) if compiled else gelu)(X), expected, atol=1e-14)


def test_the_approximate_form_is_within_5e_4_of_the_exact_one_but_not_equal(x64):
  difference = np.abs(activations.gelu(X) - activations.gelu(X, approximate=False)).max()
  assert 4e-4 < difference < 5e-4


@each_form
def test_first_and_second_derivatives_match_autodiff_and_finite_differences(x64, approximate):
  x, step = jnp.asarray(X), 1e-5

  def slopes(implementation):
    gelu = functools.partial(
        activations.gelu, approximate=approximate, implementation=implementation
    )
    slope = jax.grad(gelu)
    return jax.vmap(gelu), jax.vmap(slope), jax.vmap(jax.grad(slope))

  (gelu, slope, second), (_, plain, plain_second) = slopes("auto"), slopes("autodiff")
  np.testing.assert_allclose(slope(x), plain(x), atol=1e-13)
  np.testing.assert_allclose(second(x), plain_second(x), atol=1e-12)
  np.testing.assert_allclose(slope(x), (gelu(x + step) - gelu(x - step)) / (2 * step), atol=1e-8)


def test_only_x_is_saved_for_the_backward_pass():
  x = jnp.ones((4, 8))

  def kept(implementation):
    gelu = functools.partial(activations.gelu, implementation=implementation)
    _, vjp = jax.vjp(gelu, x)
    return sum(a.size for a in jax.tree.leaves(vjp) if a.shape == x.shape) / x.size

  assert kept("auto") == 1 < kept("autodiff")


def test_bfloat16_stays_bfloat16():
  x = jnp.asarray(X[:49], jnp.bfloat16)
  y, vjp = jax.vjp(activations.gelu, x)
  (d_x,) = vjp(y)
  assert y.dtype == d_x.dtype == jnp.bfloat16
  np.testing.assert_allclose(
      np.asarray(y, np.float64), [v * normal_distribution(v) for v in X[:49]], atol=0.05
  )


def test_an_unknown_implementation_is_named():
  with pytest.raises(ValueError, match="implementation: expected.*auto.*got 'fast'"):
    activations.gelu(jnp.ones(3), implementation="fast")
