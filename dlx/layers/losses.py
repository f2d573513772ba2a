"""Losses as masked means over optax's terms; sums are taken in at least float32."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import optax


def masked_mean(values: Float[Array, "..."], mask: Bool[Array, "..."] | None = None) -> Array:
  """sum(m * v) / sum(m): the mean over the places where the mask is True.

  Args:
    values: any shape.
    mask: broadcasts to it; None takes all. A mask without any True gives 0.

  Returns:
    A scalar, float32 or wider. Values under a False count as absent even when they
    are nan or infinite.
  """
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  if mask is None:
    return values.mean()
  mask = jnp.broadcast_to(mask, values.shape)
  total = jnp.where(mask, values, 0).sum()
  return total / jnp.maximum(mask.sum(), 1)


def _counted(x, mask):
  """x in at least float32, and 0 where the mask is False: a nan there has no gradient."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return x if mask is None else jnp.where(mask, x, 0)


def cross_entropy(
    logits: Float[Array, "... classes"],
    labels: Int[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
) -> Array:
  """Mean of -log softmax(logits)[label], in nats.

  Args:
    logits: `(..., classes)`.
    labels: class ids, `(...)`.
    mask: True where a position counts, `(...)`.
  """
  logits = _counted(logits, None if mask is None else jnp.asarray(mask)[..., None])
  return masked_mean(optax.softmax_cross_entropy_with_integer_labels(logits, labels), mask)


def binary_cross_entropy(
    logits: Float[Array, "..."],
    labels: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
) -> Array:
  """Mean of -y log s(a) - (1 - y) log(1 - s(a)) in nats, s logistic, a the logits."""
  return masked_mean(optax.sigmoid_binary_cross_entropy(_counted(logits, mask), labels), mask)


def squared_error(
    predictions: Float[Array, "..."],
    targets: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
) -> Array:
  """Mean of (prediction - target)^2."""
  terms = optax.squared_error(_counted(predictions, mask), _counted(targets, mask))
  return masked_mean(terms, mask)
