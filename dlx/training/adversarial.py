"""Adversarial training: the loss at the worst small perturbation of the inputs of a network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def perturbation(
    loss: Callable[[Any, Array], Array],
    variables: Any,
    x: Float[Array, "B T D"],
    mask: Bool[Array, "B T"],
    *,
    epsilon: float,
) -> Float[Array, "B T D"]:
  """The perturbation of a document's embeddings that raises its loss fastest, of fixed norm.

  With g_i the gradient of the loss with respect to the embeddings x_i of document i, and s_i the
  root mean square of their features,

    r_i = epsilon s_i g_i / ||g_i||,

  which maximizes the linear approximation of the loss in the ball ||r_i|| <= epsilon s_i. Its
  radius is relative to the embeddings, which could escape one of fixed size by growing. No
  gradient flows through r. It is 0 where g_i is 0, and at padding.

  Args:
    loss: loss(variables, r) of x + r; a mean or sum over documents.
    variables: of the network.
    x: the embeddings.
    mask: the valid tokens.
    epsilon: about 5 for documents of hundreds of words.

  Source: Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text
  classification" (2017), equation 3, who normalize the embeddings of the vocabulary instead.
  """
  # The variables are constants: jax would differentiate the gradient a second time, for nothing.
  variables, x = jax.lax.stop_gradient((variables, x))
  mask = mask[..., None]
  g = jax.grad(loss, argnums=1)(variables, jnp.zeros_like(x)) * mask
  features = mask.sum((1, 2), keepdims=True) * x.shape[-1]
  scale = jnp.sqrt((x**2 * mask).sum((1, 2), keepdims=True) / features)
  # Divided by the largest component first: the squares of small gradients underflow in float32.
  largest = abs(g).max((1, 2), keepdims=True)
  g = g / jnp.where(largest > 0, largest, 1)
  norm = jnp.sqrt((g**2).sum((1, 2), keepdims=True))
  return epsilon * scale * g / jnp.where(largest > 0, norm, 1)
