"""Updates of the rows of a table that a step has read.

A table of vectors has millions of numbers, of which a step reads some thousands of rows.
A table in a collection (dlx.experiment.Loss.updated) can be changed by these functions instead
of an optimizer: the loss is a function of the rows, and nothing of the table's size is computed.

  rows, gradients = table[ids], jax.grad(loss)(table[ids])
  table = sparse.sgd(table, ids, gradients, rate)

An id that occurs several times receives the sum.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np


def sgd(
    table: Float[Array, "V ..."],
    ids: Int[Array, "..."],
    gradients: Float[Array, "..."],
    rate: Float[Array, "..."],
) -> Float[Array, "V ..."]:
  """Gradient descent: E[ids] -= r g.

  Args:
    table: E.
    ids: of the rows, in 0 .. V - 1.
    gradients: g, with respect to the rows.
    rate: r, a scalar or one per id.
  """
  rate = jnp.asarray(rate, table.dtype)
  rate = rate.reshape(*rate.shape, *(1,) * (gradients.ndim - rate.ndim)) if rate.ndim else rate
  return table.at[ids].add((-rate * gradients).astype(table.dtype), mode="promise_in_bounds")


def adagrad(
    table: Float[Array, "V ..."],
    squares: Float[Array, "V ..."],
    ids: Int[Array, "..."],
    gradients: Float[Array, "..."],
    rate: Float[Array, ""],
) -> tuple[Float[Array, "V ..."], Float[Array, "V ..."]]:
  """Adagrad: S[ids] += g^2, E[ids] -= r g / sqrt(S[ids]).

  An id that occurs several times adds each of its squares before it moves.

  Args:
    table: E.
    squares: S, above 0; initially 1 in the program of GloVe.
    ids, gradients, rate: as for `sgd`; the rate is a scalar.

  Returns:
    (table, squares).

  Source: Duchi, Hazan, Singer, "Adaptive subgradient methods for online learning and stochastic
    optimization" (2011).
  """
  squares = squares.at[ids].add(gradients**2, mode="promise_in_bounds")
  scaled = gradients * jax.lax.rsqrt(squares[ids])
  return sgd(table, ids, scaled, rate), squares


def damping(
    uses: Float[np.ndarray, "V"], most: float
) -> Float[np.ndarray, "V"]:
  """Factors of the learning rate with which large batches stay stable: min(1, m / n).

  The sum of n gradients of one row is a step n times as long as one of theirs, and for frequent
  rows too long; beyond m uses the row moves by m times their mean.

  Args:
    uses: n, the expected uses of each row in a step.
    most: m.
  """
  return np.minimum(1, most / np.maximum(uses, 1e-30)).astype(np.float32)
