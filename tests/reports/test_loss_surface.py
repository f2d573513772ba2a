"""The loss surface of a quadratic form, whose Hessian is known; pictures of the plane."""

import jax.numpy as jnp
import numpy as np

from dlx.reports import loss_surface, plane


def test_it_is_along_the_leading_eigenvectors_of_the_hessian(x64):
  rng = np.random.default_rng(0)
  turn = np.linalg.qr(rng.normal(size=(5, 5)))[0]
  hessian = turn @ np.diag([9.0, 4, 1, 0.5, 0.1]) @ turn.T
  params = {"a": jnp.asarray(rng.normal(size=3)), "b": jnp.asarray(rng.normal(size=2))}
  w = np.r_[params["a"], params["b"]]

  def objective(params, hessian):
    change = jnp.concatenate([params["a"], params["b"]]) - w
    return change @ hessian @ change / 2 + 3

  given = {"hessian": jnp.asarray(hessian)}
  surface = loss_surface.around(objective, params, given, count=5)
  np.testing.assert_allclose(surface.curvatures, [9, 4], rtol=1e-6)
  np.testing.assert_allclose(surface.distances, np.linalg.norm(w) * np.linspace(-1, 1, 5))
  a, b = surface.distances, surface.distances[:, None]
  np.testing.assert_allclose(surface.values, 3 + 4.5 * a**2 + 2 * b**2, rtol=1e-6)
  assert len(loss_surface.draw(surface).axes) == 2  # With its color bar.


def test_decisions_are_drawn_where_one_class_wins_everywhere():
  """No boundary crosses the picture then, and contours of nothing would warn."""
  points, labels = np.random.default_rng(0).normal(size=(9, 2)), np.arange(9) % 2
  for p in (0.9, 0.5):
    same = lambda pairs, p=p: np.full((len(pairs), 2), [p, 1 - p])  # noqa: E731
    picture = plane.decision(same, points, labels, ["a", "_b"], ["x", "$y$"])
    assert picture.axes[0].get_xlabel() == "x"
    assert [t.get_text() for t in picture.axes[0].get_legend().get_texts()] == ["a", "_b"]
