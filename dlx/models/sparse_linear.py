"""Linear classifiers of sparse binary features, fitted to all documents at once.

  minimize  mean_i l(y_i (b + sum_f x_if s_f v_f)) + (lambda / 2) ||v||^2,   y_i in {-1, 1}

with l(m) = log(1 + e^-m), logistic regression, or max(0, 1 - m)^2, the support vector machine with
squared hinge loss. s scales the features. The matrix x is kept as its nonzeros, by rows and by
columns: both of its products are sums of runs of neighbouring values.

Source: Fan et al., "LIBLINEAR: a library for large linear classification" (2008), whose C is
  1 / (lambda N).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.models import lbfgs

LOSSES = {
    "logistic": lambda margins: jax.nn.softplus(-margins),
    "squared_hinge": lambda margins: jnp.square(jax.nn.relu(1 - margins)),
}


class SparseBinary(NamedTuple):
  """A sparse binary matrix (N, F).

  Attributes:
    rows, columns: of its ones, sorted by rows.
    num_rows, num_columns: N and F.
  """

  rows: Int[np.ndarray, "M"]
  columns: Int[np.ndarray, "M"]
  num_rows: int
  num_columns: int


class Fitted(NamedTuple):
  """The minimum: weights v, bias b, the number of steps and the norm of the last gradient."""

  weights: Float[Array, "F"]
  bias: Float[Array, ""]
  steps: Int[Array, ""]
  gradient_norm: Float[Array, ""]


class Nonzeros(NamedTuple):
  """The ones of a sparse matrix on the device: (rows, columns) by rows, and the reverse."""

  by_row: tuple[Int[Array, "M"], Int[Array, "M"]]
  by_column: tuple[Int[Array, "M"], Int[Array, "M"]]


def nonzeros(matrix: SparseBinary) -> Nonzeros:
  """The arguments of `product`."""
  order = np.argsort(matrix.columns, kind="stable")
  by_row = matrix.rows, matrix.columns
  return jax.device_put(Nonzeros(by_row, (matrix.columns[order], matrix.rows[order])))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def product(
    w: Float[Array, "F"], nonzeros: Nonzeros, shape: tuple[int, int]
) -> Float[Array, "N"]:
  """x w; the gradient of w is x^T g, a sum by columns. `shape` is (N, F)."""
  return _sums(w, nonzeros.by_row, shape[0])


def _sums(values, nonzeros, count):
  segments, taken = nonzeros
  return jax.ops.segment_sum(values[taken], segments, count, indices_are_sorted=True)


def _forward(w, nonzeros, shape):
  return product(w, nonzeros, shape), nonzeros


def _backward(shape, nonzeros, d_out):
  return _sums(d_out, nonzeros.by_column, shape[1]), None


product.defvjp(_forward, _backward)


def fit(
    matrix: SparseBinary,
    signs: Float[np.ndarray, "N"],
    scale: Float[np.ndarray, "F"],
    *,
    loss: str,
    l2: float,
    max_steps: int = 200,
    tolerance: float = 1e-5,
) -> Fitted:
  """Minimizes the objective by L-BFGS from v = 0, b = 0; the bias is not penalized.

  Args:
    matrix: x.
    signs: y.
    scale: s.
    loss: a key of LOSSES.
    l2: lambda, above 0.
    max_steps: the largest number of steps.
    tolerance: of the gradient's norm; see `lbfgs.minimize`.
  """
  shape = matrix.num_rows, matrix.num_columns

  def objective(params, nonzeros, signs, scale):
    weights, bias = params
    margins = signs * (product(scale * weights, nonzeros, shape) + bias)
    return LOSSES[loss](margins).mean() + 0.5 * l2 * jnp.vdot(weights, weights)

  given = {
      "nonzeros": nonzeros(matrix), "signs": jnp.asarray(signs), "scale": jnp.asarray(scale)
  }  # fmt: skip
  start = jnp.zeros(matrix.num_columns), jnp.zeros(())
  found = lbfgs.minimize(objective, start, given, max_steps=max_steps, tolerance=tolerance)
  return Fitted(*found.params, found.steps, found.gradient_norm)
