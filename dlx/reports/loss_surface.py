"""The loss around a minimum, along the two directions in which it is most curved."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import lax
from jax.flatten_util import ravel_pytree
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree
from matplotlib.figure import Figure
import numpy as np

from dlx.reports import figures


class Surface(NamedTuple):
  """The loss on a grid.

  Attributes:
    values: loss(w + a_i u_1 + a_j u_2), (n, n), with row j and column i.
    distances: a, (n,).
    curvatures: the eigenvalues of u_1 and u_2.
  """

  values: np.ndarray
  distances: np.ndarray
  curvatures: np.ndarray


def around(
    objective: Callable[..., Float[Array, ""]],
    params: PyTree[Float[Array, "..."]],
    given: Mapping[str, Any],
    *,
    count: int = 41,
    iterations: int = 50,
) -> Surface:
  """The loss in the plane through params of the Hessian's two leading eigenvectors.

  They are found by subspace iteration, Q R = H Q, where a product with the Hessian H is the
  derivative of the gradient along a vector. The grid reaches as far as the length of params.

  Args:
    objective: `objective(params, **given)`.
    params: the center, of at least two numbers.
    given: the other arguments.
    count: n, odd so that the center is on the grid.
    iterations: of the subspace.
  """
  w, restore = ravel_pytree(params)

  @jax.jit
  def compute(w, start, given):
    loss = lambda w: objective(restore(w), **given)  # noqa: E731
    product = jax.vmap(lambda v: jax.jvp(jax.grad(loss), (w,), (v,))[1], 1, 1)
    step = lambda _, q: jnp.linalg.qr(product(q))[0]  # noqa: E731
    q = lax.fori_loop(0, iterations, step, jnp.linalg.qr(start)[0])
    curvatures, turn = jnp.linalg.eigh(q.T @ product(q))  # Ascending.
    radius = jnp.maximum(jnp.linalg.norm(w), 1e-3)
    distances = radius * jnp.linspace(-1, 1, count)
    u_2, u_1 = (q @ turn).T
    of_row = lambda b: lax.map(lambda a: loss(w + a * u_1 + b * u_2), distances)  # noqa: E731
    return Surface(lax.map(of_row, distances), distances, curvatures[::-1])

  start = jax.random.normal(jax.random.key(0), (len(w), 2), w.dtype)
  return Surface(*map(np.asarray, compute(w, start, dict(given))))


def draw(surface: Surface) -> Figure:
  """Contours, narrow in the direction of the larger curvature."""
  result = figures.figure(5.5, 4.5)
  axes = result.subplots()
  least, most = surface.values.min(), surface.values.max()
  levels = least + (most - least) * np.linspace(0, 1, 25) ** 2  # Denser near the minimum.
  drawn = axes.contourf(surface.distances, surface.distances, surface.values, np.unique(levels))
  result.colorbar(drawn, label="loss", format="%.3g")
  axes.plot(0, 0, "r+", markersize=10)
  for set_label, curvature in zip((axes.set_xlabel, axes.set_ylabel), surface.curvatures):
    set_label(f"along the eigenvector of curvature {curvature:.3g}")
  axes.set_title("loss around the solution (+)", fontsize=10)
  axes.set_aspect("equal")
  result.set_layout_engine("tight")
  return result
