"""Universal approximation: errors fall with units, and squares are a parabola of any width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import universal_approximation as demonstration


@pytest.fixture(scope="module")
def errors():
  """{activation: the error of 2 and of 16 units}."""
  widths = jnp.array([2, 16])
  return {
      name: demonstration.rmse(
          jax.vmap(lambda w, name=name: demonstration.fit(w, name, steps=1500, most=16))(widths)
      )
      for name in ("tanh", "square")
  }


@pytest.mark.full
def test_more_units_come_nearer(errors):
  assert errors["tanh"][1] < 0.03 < 0.2 < errors["tanh"][0]


@pytest.mark.full
def test_squares_are_no_better_than_the_best_parabola(errors):
  design = np.stack([demonstration.X**n for n in range(3)], -1)
  y = demonstration.curve(demonstration.X)
  residual = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
  least = np.sqrt((residual**2).mean())
  assert demonstration.rmse(demonstration.parabola()) == pytest.approx(least, rel=1e-12)
  assert (errors["square"] >= least * (1 - 1e-6)).all()
  assert errors["square"][1] == pytest.approx(least, rel=0.01)


def test_a_network_of_squares_is_a_polynomial_of_degree_two():
  found = np.asarray(demonstration.fit(16, "square", steps=10, most=16), np.float64)
  third = np.diff(found[::20], 3)  # Equal steps: third differences of a parabola are zero.
  np.testing.assert_allclose(third, 0, atol=1e-5)
  other = np.asarray(demonstration.fit(16, "tanh", steps=10, most=16), np.float64)
  assert np.abs(np.diff(other[::20], 3)).max() > 1e-3
