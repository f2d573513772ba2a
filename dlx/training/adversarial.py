"""Adversarial training: the loss at the worst small perturbation of the inputs of a network."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx.gradients import precomputed

LossFn = Callable[[Any, Array], tuple[Array, Any]]


def with_adversarial(
    loss_fn: LossFn, params: Any, x: Float[Array, "B T D"], mask: Bool[Array, "B T"], *,
    epsilon: float,
) -> tuple[Array, Any]:
  """((loss(x) + loss(x + r)) / 2, what loss_fn has beside the loss at x); r is `perturbation`.

  Both gradients are taken while the loss is computed: that at x with respect to params and x is
  one backward pass. The result has gradients for params, of first order only, in which r is a
  constant.

  Args:
    loss_fn: loss_fn(params, r) -> (loss, others) for the inputs x + r; the loss is a mean or sum
      over documents.
    params: of the network.
    x: the embeddings of documents.
    mask: the valid tokens.
    epsilon: of the perturbation.

  Source: Miyato, Dai and Goodfellow, "Adversarial training methods for semi-supervised text
  classification" (2017); Goodfellow, Shlens and Szegedy (2015), section 6, for the mean.
  """

  def value_and_grad(params, inputs):
    x, mask = inputs
    found = jax.value_and_grad(loss_fn, argnums=(0, 1), has_aux=True)(params, jnp.zeros_like(x))
    (clean, others), (grads, g) = found
    r = perturbation(g, x, mask, epsilon=epsilon)
    (worst, _), more = jax.value_and_grad(loss_fn, has_aux=True)(params, r)
    return ((clean + worst) / 2, others), jax.tree.map(lambda a, b: (a + b) / 2, grads, more)

  return precomputed.make_loss(value_and_grad)(params, (x, mask))


def perturbation(
    g: Float[Array, "B T D"], x: Float[Array, "B T D"], mask: Bool[Array, "B T"], *, epsilon: float
) -> Float[Array, "B T D"]:
  """The perturbation of a document's embeddings that raises its loss fastest, of fixed norm.

  With g_i the gradient of the loss with respect to the embeddings x_i of document i, and s_i the
  root mean square of their features,

    r_i = epsilon s_i g_i / ||g_i||,

  which maximizes the linear approximation of the loss in the ball ||r_i|| <= epsilon s_i. Its
  radius is relative to the embeddings, which could escape one of fixed size by growing. It is 0
  where g_i is 0, and at padding.

  Args:
    g: the gradient of the loss of a batch, a mean or sum over documents.
    x: the embeddings.
    mask: the valid tokens.
    epsilon: 5 in the paper, for documents of up to 400 words with embeddings of 256 features.

  Source: Miyato, Dai and Goodfellow (2017), equation 5, who normalize the embeddings of the
  vocabulary instead.
  """
  mask = mask[..., None]
  g = g * mask
  features = mask.sum((1, 2), keepdims=True) * x.shape[-1]
  scale = jnp.sqrt((x**2 * mask).sum((1, 2), keepdims=True) / features)
  # Divided by the largest component first: the squares of small gradients underflow in float32.
  largest = abs(g).max((1, 2), keepdims=True)
  g = g / jnp.where(largest > 0, largest, 1)
  norm = jnp.sqrt((g**2).sum((1, 2), keepdims=True))
  return epsilon * scale * g / jnp.where(largest > 0, norm, 1)
