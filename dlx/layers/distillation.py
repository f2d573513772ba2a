"""Knowledge distillation: cross-entropy with the probabilities of another classifier."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx.layers import losses, shapes


def soft_cross_entropy(
    logits: Float[Array, "... K"],
    targets: Float[Array, "... K"],
    mask: Bool[Array, "..."] | None = None,
    *,
    weights: Float[Array, "..."] | None = None,
    temperature: float = 1.0,
) -> Array:
  """Mean of -T^2 sum_k q_k log softmax(z / T)_k in nats, z the logits, q the targets.

  Where the targets are a teacher's softmax(v / T), the gradient of a term is
  T (softmax(z / T) - softmax(v / T)); the factor T^2 keeps it of one size as T grows, with the
  limit (z - v) / K for logits of mean zero.

  Args:
    logits: z, `(..., K)`, finite.
    targets: q, `(..., K)`, which sum to 1.
    mask, weights: of the terms, as in `dlx.layers.losses.masked_mean`; they broadcast to `(...)`.
    temperature: T, a Python number above 0.

  Returns:
    A scalar, float32 or wider.

  Raises:
    ValueError: the shape of targets is not that of logits, temperature is not above 0, or an
      error of `masked_mean`.

  Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network" (2015), section 2.
  """
  if not temperature > 0:
    raise ValueError(f"temperature: expected a number above 0, got {temperature}")
  logits, targets = shapes.as_arrays(logits, targets)
  shapes.expect_shape("targets", targets, logits.shape)
  dtype = jnp.result_type(logits, targets, jnp.float32)
  logits, targets = logits.astype(dtype), targets.astype(dtype)
  if mask is not None:  # A nan there has no gradient.
    kept = jnp.asarray(mask)[..., None]
    logits, targets = jnp.where(kept, logits, 0), jnp.where(kept, targets, 0)
  log_p = jax.nn.log_softmax(logits / temperature)
  terms = -(targets * log_p).sum(-1)
  return losses.masked_mean(temperature**2 * terms, mask, weights=weights)
