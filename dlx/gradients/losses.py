"""The gradients of the losses, derived by hand.

Each loss is the mean of terms l over the n positions where the mask m is True (all of them
without a mask), so the cotangent of a term is

  d_l = m d_loss / n,   n = sum m, at least 1

or, with weights w of the positions, which are constants,

  d_l = m w d_loss / n,   n = sum m w, or 1 where that is 0

and a masked position has the cotangent 0, even if its input is nan, because inputs are
replaced by 0 there first. It remains to derive the derivative of one term for each loss.
d_v is the cotangent of v, s the sigmoid.

Terms, means and losses are in at least float32. Every rule raises ValueError if d_out is not
a scalar in the dtype of the loss.
"""

import functools
import math

from jax import lax
import jax.numpy as jnp

from dlx.gradients import checks, softmax


def _expect_scalar(d_out, *inputs):
  dtype = functools.reduce(jnp.promote_types, [x.dtype for x in inputs], jnp.float32)
  checks.expect_like("d_out", d_out, (), dtype)


def _share(d_out, shape, mask, weights=None):
  """The cotangent of the terms: w d_out / n at each unmasked position, 0 elsewhere."""
  if weights is not None:
    weights = _weights(weights, shape, mask, d_out.dtype)
    return weights * _over(d_out, weights.sum())
  if mask is None:
    return jnp.full(shape, d_out / max(math.prod(shape), 1))
  checks.expect_broadcast("mask", mask, shape)
  mask = jnp.broadcast_to(mask, shape)
  return jnp.where(mask, d_out / jnp.maximum(mask.sum(), 1), 0)


def _over(d_out, total):
  """d_out / total; a total of 0 counts as 1, as in the losses."""
  return d_out / jnp.where(total == 0, 1, total)


def _weights(weights, shape, mask, dtype):
  """m w at each position."""
  weights = jnp.asarray(weights).astype(dtype)
  checks.expect_broadcast("weights", weights, shape)
  weights = jnp.broadcast_to(weights, shape)
  if mask is None:
    return weights
  checks.expect_broadcast("mask", mask, shape)
  return jnp.where(mask, weights, 0)


def _counted(x, mask):
  """x in at least float32, and 0 where masked."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return x if mask is None else jnp.where(mask, x, 0)


def masked_mean_vjp(values, *, d_out, mask=None, weights=None):
  """The vector-Jacobian product of `dlx.layers.losses.masked_mean`, sum(m v) / sum(m).

  The numerator's derivative with respect to v_i is m_i, the denominator is constant:
  d_v_i = m_i d_out / sum(m), or with weights m_i w_i d_out / sum(m w). If everything is masked
  or has the weight 0, the mean is 0 and so is d_v.

  Args:
    values: any shape; the mean is linear, so only the shape and dtype are used.
    d_out: `()`, in the dtype of the mean.
    mask: broadcasts to values; None includes all.
    weights: w, constants that broadcast to values; ones if None.

  Returns:
    d_values, in the shape and dtype of values.

  Raises:
    ValueError: d_out has another shape or dtype, or mask or weights do not broadcast.

  Source: the definition.
  """
  _expect_scalar(d_out, values)
  return _share(d_out, values.shape, mask, weights).astype(values.dtype)


def cross_entropy_vjp(
    logits,
    *,
    labels,
    d_out,
    mask=None,
    weights=None,
    label_smoothing=0.0,
    class_weights=None,
):
  """The vector-Jacobian product of `dlx.layers.losses.cross_entropy`.

  With targets q that sum to 1, q_k = (1 - a) [k = label] + a / K for label smoothing a and
  K classes, and L = logsumexp(x), one term is

    l = -sum_k q_k log p_k = -sum_k q_k (x_k - L) = L - sum_k q_k x_k

  and since dL/dx_j = p_j (dlx/gradients/softmax.py),

    dl/dx_j = p_j - q_j

  the difference between prediction and target. It sums to 0 over the classes and is between
  -1 and 1 for any prediction. With class weights c the targets are q'_k = c_k q_k, whose sum is
  not 1, and the mean is divided by the constant sum of m w c_label instead of n:

    dl/dx_j = p_j sum_k q'_k - q'_j

  Args:
    logits: x, `(..., K)`.
    labels: integers, `(...)`; no cotangent.
    d_out: `()`, in the dtype of the loss.
    mask: broadcasts to `(...)`; None includes all.
    weights: w, constants that broadcast to `(...)`; ones if None.
    label_smoothing: a.
    class_weights: c, `(K,)`, constants; ones if None.

  Returns:
    d_logits, in the shape and dtype of logits. For a label outside 0 .. K - 1, whose loss
    is nan, q = a / K.

  Raises:
    ValueError: d_out has another shape or dtype, labels have another shape, or mask or weights
      do not broadcast.

  Source: Bridle (1990), as in dlx/gradients/softmax.py; Szegedy et al., "Rethinking the
    Inception architecture for computer vision" (2016), section 7, for the smoothing.
  """
  _expect_scalar(d_out, logits)
  labels = jnp.asarray(labels)
  checks.expect_like("labels", labels, logits.shape[:-1])
  x = _counted(logits, None if mask is None else jnp.asarray(mask)[..., None])
  classes = x.shape[-1]
  right = labels[..., None] == jnp.arange(classes)
  targets = (1 - label_smoothing) * right + label_smoothing / classes
  if class_weights is None:
    share = _share(d_out, labels.shape, mask, weights)[..., None]
    return (share * (softmax.probabilities(x) - targets)).astype(logits.dtype)
  class_weights = jnp.asarray(class_weights).astype(x.dtype)
  weights = _weights(1 if weights is None else weights, labels.shape, mask, x.dtype)
  share = weights * _over(d_out, (weights * (class_weights * right).sum(-1)).sum())
  targets = class_weights * targets
  d_x = softmax.probabilities(x) * targets.sum(-1, keepdims=True) - targets
  return (share[..., None] * d_x).astype(logits.dtype)


def binary_cross_entropy_vjp(logits, labels, *, d_out, mask=None, weights=None):
  """The vector-Jacobian product of `dlx.layers.losses.binary_cross_entropy`.

  One term is l = -y log s(x) - (1 - y) log(1 - s(x)). With 1 - s(x) = s(-x) and
  s' = s(x) s(-x), the logarithms have the derivatives

    (log s(x))' = s(-x)     (log s(-x))' = -s(x)

  so that dl/dx = (1 - y) s(x) - y s(-x). This is s(x) - y, but accurate where s(x) rounds
  to y. And since log s(x) - log s(-x) = log e^x = x,

    dl/dy = -log s(x) + log s(-x) = -x

  Args:
    logits: x, any shape.
    labels: y, in the shape of logits.
    d_out: `()`, in the dtype of the loss.
    mask: broadcasts to logits; None includes all.
    weights: w, constants that broadcast to logits; ones if None.

  Returns:
    (d_logits, d_labels), in the shapes and dtypes of the inputs; d_labels is None for
    integer or boolean labels.

  Raises:
    ValueError: d_out has another shape or dtype, labels have another shape, or mask or weights
      do not broadcast.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 6.2.2.2.
  """
  _expect_scalar(d_out, logits)
  checks.expect_like("labels", labels, logits.shape)
  share = _share(d_out, logits.shape, mask, weights)
  x, y = _counted(logits, mask), _counted(labels, mask)
  d_logits = share * ((1 - y) * lax.logistic(x) - y * lax.logistic(-x))
  if not jnp.issubdtype(labels.dtype, jnp.floating):
    return d_logits.astype(logits.dtype), None
  return d_logits.astype(logits.dtype), (-share * x).astype(labels.dtype)


def squared_error_vjp(predictions, targets, *, d_out, mask=None, weights=None):
  """The vector-Jacobian product of `dlx.layers.losses.squared_error`.

  One term is l = (p - t)^2, so dl/dp = 2 (p - t) and dl/dt = -2 (p - t).

  Args:
    predictions: p, any shape.
    targets: t, in the shape of predictions.
    d_out: `()`, in the dtype of the loss.
    mask: broadcasts to predictions; None includes all.
    weights: w, constants that broadcast to predictions; ones if None.

  Returns:
    (d_predictions, d_targets), in the shapes and dtypes of the inputs.

  Raises:
    ValueError: d_out has another shape or dtype, targets have another shape, or mask or weights
      do not broadcast.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 6.2.1.1.
  """
  _expect_scalar(d_out, predictions, targets)
  checks.expect_like("targets", targets, predictions.shape)
  share = _share(d_out, predictions.shape, mask, weights)
  d_terms = 2 * (_counted(predictions, mask) - _counted(targets, mask)) * share
  return d_terms.astype(predictions.dtype), (-d_terms).astype(targets.dtype)
