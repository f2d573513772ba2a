"""Integrated gradients: their sum, what has no influence, and a case done by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models.attribution import integrated_gradients


def test_the_shares_add_up_to_the_difference_of_the_values(x64):
  x, start = jnp.array([[0.3, -1.2], [2.0, 0.5]]), jnp.array([[0.0, 0.4], [-0.3, 0.5]])

  def f(x):
    return jnp.tanh(x).prod() + jnp.sin(x[0] * x[1]).sum()

  shares = integrated_gradients(f, x, start, steps=2000)
  np.testing.assert_allclose(shares.sum(), f(x) - f(start), rtol=1e-6)
  assert shares[1, 1] == 0  # It is where it starts.


def test_a_square_and_a_product_by_hand(x64):
  # f = x^2 + y z: along t (x, y, z) the integrals of 2 t x, t z and t y are x, z/2, y/2.
  shares = integrated_gradients(
      lambda v: v[0] ** 2 + v[1] * v[2] + 0 * v[3], jnp.array([3.0, 2, 5, 7]), jnp.zeros(4)
  )
  np.testing.assert_allclose(shares, [9, 5, 5, 0], rtol=1e-12)


def test_a_saturated_unit_still_has_its_share():
  # The plain gradient is 0 there.
  shares = integrated_gradients(lambda v: jnp.minimum(v, 1).sum(), jnp.array([4.0]), jnp.zeros(1))
  assert float(shares[0]) == pytest.approx(1.0)
