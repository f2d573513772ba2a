"""Linear classifiers of sparse binary features, fitted to all documents at once.

  minimize  mean_i l(y_i (b + sum_f x_if s_f v_f)) + (lambda / 2) ||v||^2,   y_i in {-1, 1}

with l(m) = log(1 + e^-m), logistic regression, or max(0, 1 - m)^2, the support vector machine with
squared hinge loss. s scales the features. The matrix x is kept as its nonzeros, by rows and by
columns: both of its products are sums of runs of neighbouring values. Features that only one
document has are one feature in the fit (`merge`): of n-grams, those are most.

Source: Fan et al., "LIBLINEAR: a library for large linear classification" (2008), whose C is
  1 / (lambda N).
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import scipy.sparse

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


class Merged(NamedTuple):
  """The result of `merge`: matrix (N, G), scale (G,), and the group (F,) and sizes (G,)."""

  matrix: SparseBinary
  scale: Float[np.ndarray, "G"]
  group: Int[np.ndarray, "F"]
  sizes: Int[np.ndarray, "G"]


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
  starts = np.concatenate([[0], np.cumsum(np.bincount(matrix.rows, minlength=matrix.num_rows))])
  shape, ones = (matrix.num_rows, matrix.num_columns), np.ones(len(matrix.rows), bool)
  by_column = scipy.sparse.csr_matrix((ones, matrix.columns, starts), shape).tocsc()
  columns = np.repeat(np.arange(matrix.num_columns, dtype=np.int32), np.diff(by_column.indptr))
  by_row = matrix.rows, matrix.columns
  return jax.device_put(Nonzeros(by_row, (columns, by_column.indices.astype(np.int32))))


def merge(matrix: SparseBinary, scale: Float[np.ndarray, "F"]) -> Merged:
  """The same problem with one feature for the features that only one document, the same, has.

  Features of equal columns and scales have equal weights v at the minimum. So m of them are one
  of scale sqrt(m) s and weight u = sqrt(m) v: m s v = sqrt(m) s u, and m v^2 = u^2.

  Args:
    matrix: x.
    scale: s; a feature whose s is not that of the document's first one stays alone.
  """
  rows, columns = matrix.rows, matrix.columns
  at = np.flatnonzero(np.bincount(columns, minlength=matrix.num_columns)[columns] == 1)
  first = np.zeros(matrix.num_rows, scale.dtype)
  first[rows[at[::-1]]] = scale[columns[at[::-1]]]  # The first of a row is written last.
  at = at[scale[columns[at]] == first[rows[at]]]
  documents, firsts, index = np.unique(rows[at], return_index=True, return_inverse=True)
  is_joined = np.zeros(matrix.num_columns, bool)
  is_joined[columns[at]] = True
  num_others = matrix.num_columns - len(at)
  group = np.empty(matrix.num_columns, np.int32)
  group[~is_joined] = np.arange(num_others)
  group[columns[at]] = num_others + index
  keep = ~is_joined[columns]
  keep[at[firsts]] = True
  num_groups = num_others + len(documents)
  sizes = np.bincount(group, minlength=num_groups)
  scales = np.empty(num_groups, scale.dtype)
  scales[group] = scale
  merged = SparseBinary(rows[keep], group[columns[keep]], matrix.num_rows, num_groups)
  return Merged(merged, (scales * np.sqrt(sizes)).astype(scale.dtype), group, sizes)


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
  merged = merge(matrix, scale)
  shape = matrix.num_rows, merged.matrix.num_columns

  def objective(params, nonzeros, signs, scale):
    weights, bias = params
    margins = signs * (product(scale * weights, nonzeros, shape) + bias)
    return LOSSES[loss](margins).mean() + 0.5 * l2 * jnp.vdot(weights, weights)

  given = {
      "nonzeros": nonzeros(merged.matrix), "signs": jnp.asarray(signs),
      "scale": jnp.asarray(merged.scale),
  }  # fmt: skip
  start = jnp.zeros(shape[1]), jnp.zeros(())
  found = lbfgs.minimize(objective, start, given, max_steps=max_steps, tolerance=tolerance)
  weights, bias = found.params
  weights = (weights / np.sqrt(merged.sizes).astype(weights.dtype))[merged.group]
  return Fitted(weights, bias, found.steps, found.gradient_norm)
