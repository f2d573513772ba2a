"""A loss with the gradient that was found while it was computed.

For out = (loss, others) and g = d loss / d params, both from one call, the rule is

  d_params = d_loss g

It is for a gradient that has to be taken inside a function: in a branch of a conditional, whose
derivative from outside keeps the residuals of all branches, or before a second evaluation.
"""

from collections.abc import Callable
from typing import Any

import jax


def make_loss(value_and_grad: Callable) -> Callable:
  """`loss(params, inputs) -> (loss, others)`, with gradients for params, of first order only.

  Args:
    value_and_grad: `value_and_grad(params, inputs) -> ((loss, others), g)`, with g like params.
  """

  @jax.custom_vjp
  def loss(params: Any, inputs: Any):
    return value_and_grad(params, inputs)[0]

  def backward(g, d_out):
    return jax.tree.map(lambda g: (d_out[0] * g).astype(g.dtype), g), None

  loss.defvjp(value_and_grad, backward)
  return loss
