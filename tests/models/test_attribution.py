"""Integrated gradients: their sum, inputs without influence, and a case by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models.attribution import integrated_gradients


def test_attributions_sum_to_the_difference_from_the_baseline(x64):
  x, baseline = jnp.array([[0.3, -1.2], [2.0, 0.5]]), jnp.array([[0.0, 0.4], [-0.3, 0.5]])

  def f(x):
    return jnp.tanh(x).prod() + jnp.sin(x[0] * x[1]).sum()

  attributions = integrated_gradients(f, x, baseline, steps=2000)
  np.testing.assert_allclose(attributions.sum(), f(x) - f(baseline), rtol=1e-6)
  assert attributions[1, 1] == 0  # Equal to the baseline.


def test_a_square_and_a_product_by_hand(x64):
  # f = x^2 + y z: along t (x, y, z) the integrals of 2 t x, t z and t y are x, z/2, y/2.
  attributions = integrated_gradients(
      lambda v: v[0] ** 2 + v[1] * v[2] + 0 * v[3], jnp.array([3.0, 2, 5, 7]), jnp.zeros(4)
  )
  np.testing.assert_allclose(attributions, [9, 5, 5, 0], rtol=1e-12)


def test_a_saturated_unit_has_an_attribution():
  # Its gradient is 0.
  def f(v):
    return jnp.minimum(v, 1).sum()

  assert float(integrated_gradients(f, jnp.array([4.0]), jnp.zeros(1))[0]) == pytest.approx(1.0)
