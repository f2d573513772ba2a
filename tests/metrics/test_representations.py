"""Principal components, angles between subspaces, and the linear probe."""

import numpy as np
import pytest

from dlx.metrics import representations


def test_components_are_the_directions_of_largest_variance():
  rng = np.random.default_rng(0)
  basis = np.linalg.qr(rng.normal(size=(5, 5)))[0]
  x = rng.normal(size=(4000, 5)) * [5, 4, 1, 0.5, 0.1] @ basis.T
  components = representations.principal_components(x - x.mean(0), 2)
  np.testing.assert_allclose(components.T @ components, np.eye(2), atol=1e-12)
  assert representations.principal_angles(components, basis[:, :2])[0] < 2


@pytest.mark.parametrize("degrees", [1e-6, 1.0, 44.0, 46.0, 89.0, 90.0])
def test_an_angle_between_planes_is_found_from_1e_6_to_90_degrees(degrees):
  t = np.radians(degrees)
  a = np.eye(4)[:, :2]
  b = np.array([[1, 0], [0, np.cos(t)], [0, np.sin(t)], [0, 0]])
  mixed = b @ [[2.0, 1.0], [0.5, 3.0]]  # Another basis of the same plane.
  found = representations.principal_angles(a, mixed)
  np.testing.assert_allclose(found, [degrees, 0], rtol=1e-6, atol=1e-7)


def test_a_probe_separates_linearly_separable_codes_at_any_scale():
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 3, 300)
  codes = np.eye(3)[labels] + 0.1 * rng.normal(size=(300, 3))
  for scale in (1e-3, 1.0, 1e3):
    x = scale * codes + 7
    assert representations.probe_accuracy(x[:200], labels[:200], x[200:], labels[200:]) == 1


def test_a_probe_of_constant_codes_predicts_the_most_frequent_class():
  labels = np.array([0, 1, 1, 1, 0])
  assert representations.probe_accuracy(np.ones((5, 2)), labels, np.ones((5, 2)), labels) == 0.6


def test_codes_equal_to_the_components_are_as_good_and_their_angle_is_0():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(200, 6)) * [6, 5, 4, 1, 1, 1]
  x -= x.mean(0)
  labels = (x[:, 0] > 0).astype(int)
  components = representations.principal_components(x, 3)
  found = representations.compare_with_pca([x @ components] * 2, [x] * 2, [labels] * 2, components)
  assert found["probe accuracy"] == found["PCA probe accuracy"]
  assert found["angle to PCA"] < 1e-5
  values = np.linalg.eigvalsh(x.T @ x / len(x))
  np.testing.assert_allclose(found["PCA error"], values[:3].sum(), rtol=1e-9)
