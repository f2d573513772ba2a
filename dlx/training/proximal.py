"""Sparse parameters by proximal gradient descent: an L1 penalty with exact zeros.

  w <- S_{r c}(w - r dL/dw),   S_a(v) = sign(v) max(|v| - a, 0)

minimizes L(w) + c |w|_1 (ISTA, iterative soft thresholding). The subgradient c sign(w) in place of
the soft threshold S would move small weights around 0 without ever reaching it. The penalty is
the prior of a maximum a posteriori: if L is -log p(data | w) / N, then c |w|_1 is -log p(w) / N
for w ~ Laplace(0, 1 / (N c)), up to a constant.

Source: Daubechies, Defrise, De Mol, "An iterative thresholding algorithm for linear inverse
  problems with a sparsity constraint" (2004); Tibshirani (1996), for the lasso.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import optax


def soft_threshold(v: Float[Array, "..."], a: Float[Array, ""] | float) -> Float[Array, "..."]:
  """S_a(v) = sign(v) max(|v| - a, 0) = argmin_w (w - v)^2 / 2 + a |w|."""
  return jnp.sign(v) * jnp.maximum(jnp.abs(v) - a, 0)


class State(NamedTuple):
  """The number of steps so far."""

  count: Int[Array, ""]


def l1(learning_rate: optax.ScalarOrSchedule, weight: float) -> optax.GradientTransformation:
  """The proximal step of c |w|_1 after a step of gradient descent, to be chained behind it.

  Of kernels only: parameters with fewer than two dimensions (biases) are left as they are.

  Args:
    learning_rate: r, that of the gradient descent, which must be without momentum: the threshold
      r c is that of a step r dL/dw.
    weight: c.
  """

  def init(params):
    del params
    return State(jnp.zeros((), jnp.int32))

  def update(updates, state, params=None):
    if params is None:
      raise ValueError("params: expected the parameters, which the soft threshold is applied to")
    rate = learning_rate(state.count) if callable(learning_rate) else learning_rate

    def step(u, w):
      return soft_threshold(w + u, rate * weight) - w if w.ndim > 1 else u

    return jax.tree.map(step, updates, params), State(state.count + 1)

  return optax.GradientTransformation(init, update)
