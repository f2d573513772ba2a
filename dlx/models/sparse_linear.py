"""Linear classifiers of sparse binary features, fitted to all documents at once.

  minimize  mean_i l(y_i (b + sum_f x_if s_f v_f)) + (lambda / 2) ||v||^2,   y_i in {-1, 1}

with l(m) = log(1 + e^-m), logistic regression, or max(0, 1 - m)^2, the support vector machine with
squared hinge loss. s scales the features. The matrix x is kept as its nonzeros, by rows and by
columns: both of its products are sums of runs of neighbouring values.

Source: Fan et al., "LIBLINEAR: a library for large linear classification" (2008), whose C is
  1 / (lambda N); Liu and Nocedal, "On the limited memory BFGS method" (1989).
"""

import functools
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np
import optax

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
    tolerance: ends when the gradient's norm is below this, or the value falls no more; of float64
      the first is reached from the square root of its precision, 1.5e-8, on.
  """
  shape = matrix.num_rows, matrix.num_columns

  def objective(params, nonzeros, signs, scale):
    weights, bias = params
    margins = signs * (product(scale * weights, nonzeros, shape) + bias)
    return LOSSES[loss](margins).mean() + 0.5 * l2 * jnp.vdot(weights, weights)

  solver = optax.lbfgs(memory_size=10)
  value_and_grad = optax.value_and_grad_from_state(objective)

  @jax.jit
  def run(params, nonzeros, signs, scale):
    given = {"nonzeros": nonzeros, "signs": signs, "scale": scale}

    def step(carry):
      params, state, progress = carry
      value, gradient = value_and_grad(params, state=state, **given)
      updates, state = solver.update(
          gradient, state, params, value=value, grad=gradient, value_fn=objective, **given
      )
      norm = optax.global_norm(optax.tree.get(state, "grad"))
      # At the limit of the precision, a line search finds no smaller value any more.
      is_smaller = optax.tree.get(state, "value") < value
      return optax.apply_updates(params, updates), state, (progress[0] + 1, norm, is_smaller)

    def goes_on(carry):
      steps, norm, is_smaller = carry[2]
      return (norm > tolerance) & is_smaller & (steps < max_steps)

    progress = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf), jnp.asarray(True)
    (weights, bias), _, progress = lax.while_loop(
        goes_on, step, (params, solver.init(params), progress)
    )
    return Fitted(weights, bias, *progress[:2])

  start = jnp.zeros(matrix.num_columns), jnp.zeros(())
  return run(start, nonzeros(matrix), jnp.asarray(signs), jnp.asarray(scale))
