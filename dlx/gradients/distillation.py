"""The gradient of distillation, derived by hand; masks and means as in dlx.gradients.losses."""

import jax
import jax.numpy as jnp

from dlx.gradients import checks, losses, softmax


def soft_cross_entropy_vjp(logits, targets, *, d_out, mask=None, weights=None, temperature=1.0):
  """The vector-Jacobian product of `dlx.layers.distillation.soft_cross_entropy`.

  With x = z / T and L = logsumexp(x), a term is

    l = -T^2 sum_k q_k log p_k = T^2 (L sum_k q_k - sum_k q_k x_k)

  dL/dx_j = p_j (dlx/gradients/softmax.py) and dx_j/dz_j = 1 / T, so

    dl/dz_j = T (p_j sum_k q_k - q_j),   dl/dq_j = -T^2 log p_j

  and with targets that sum to 1 the first is T (p_j - q_j). The mean is that of
  `dlx.gradients.losses.masked_mean_vjp`.

  Args:
    logits: z, `(..., K)`.
    targets: q, `(..., K)`.
    d_out: `()`, in the dtype of the loss.
    mask, weights: of the terms; they broadcast to `(...)`, and are constants.
    temperature: T.

  Returns:
    (d_logits, d_targets), in the shapes and dtypes of the two.

  Raises:
    ValueError: d_out has another shape or dtype, targets have another shape, or mask or weights
      do not broadcast.

  Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network" (2015),
    equations 2 to 4.
  """
  checks.expect_like("targets", targets, logits.shape)
  dtype = jnp.result_type(logits, targets, jnp.float32)
  z, q = logits.astype(dtype), targets.astype(dtype)
  if mask is not None:
    kept = jnp.asarray(mask)[..., None]
    z, q = jnp.where(kept, z, 0), jnp.where(kept, q, 0)
  terms = jax.ShapeDtypeStruct(z.shape[:-1], dtype)
  share = losses.masked_mean_vjp(terms, d_out=d_out, mask=mask, weights=weights)[..., None]
  p = softmax.probabilities(z / temperature)
  d_logits = share * temperature * (p * q.sum(-1, keepdims=True) - q)
  d_targets = -share * temperature**2 * jax.nn.log_softmax(z / temperature)
  return d_logits.astype(logits.dtype), d_targets.astype(targets.dtype)
