"""Losses as masked means over optax's terms, and penalties on weights.

Sums are taken in at least float32.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree
import optax

from dlx.layers import shapes


def _expect_mask(mask, shape):
  """The mask as an array, which must broadcast to `shape`; None stays None."""
  if mask is None:
    return None
  mask = jnp.asarray(mask)
  shapes.expect_broadcast("mask", mask, shape)
  return mask


def masked_mean(values: Float[Array, "..."], mask: Bool[Array, "..."] | None = None) -> Array:
  """sum(m * v) / sum(m): the mean over the places where the mask is True.

  Args:
    values: any shape.
    mask: broadcasts to it; None takes all. A mask without any True gives 0.

  Returns:
    A scalar, float32 or wider. Values under a False count as absent even when they
    are nan or infinite.

  Raises:
    ValueError: mask does not broadcast to the shape of values.
  """
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  if mask is None:
    return values.mean()
  mask = jnp.broadcast_to(_expect_mask(mask, values.shape), values.shape)
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
    *,
    label_smoothing: float = 0.0,
) -> Array:
  """Mean of -sum_k q_k log softmax(logits)_k, in nats.

  q_k = (1 - a) [k = label] + a / classes with a the label smoothing; for a = 0 a term is
  -log softmax(logits)[label].

  Args:
    logits: `(..., classes)`. With label smoothing a logit of -inf makes the loss
      infinite, since every class is given a share.
    labels: class ids, `(...)`, in 0 .. classes - 1. An id outside makes the loss nan
      (under jit it cannot be refused), except under a False of the mask.
    mask: True where a position counts, `(...)` or broadcasting to it.
    label_smoothing: the share of the target that is spread evenly over all classes,
      the right one among them; 0 <= a <= 1, a Python number.

  Raises:
    ValueError: labels do not have the shape of logits without its last dimension,
      mask does not broadcast to that, or label_smoothing is outside [0, 1].

  Source: Szegedy et al., "Rethinking the Inception architecture for computer vision"
    (2016), section 7, for the smoothing.
  """
  if not 0 <= label_smoothing <= 1:
    raise ValueError(f"label_smoothing: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
  labels = jnp.asarray(labels)
  shapes.expect_shape("labels", labels, logits.shape[:-1])
  mask = _expect_mask(mask, labels.shape)
  logits = _counted(logits, None if mask is None else mask[..., None])
  terms = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if label_smoothing:
    to_all = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
    terms = (1 - label_smoothing) * terms + label_smoothing * to_all
  terms = jnp.where(labels < 0, jnp.nan, terms)  # To optax, -1 is the last class.
  return masked_mean(terms, mask)


def binary_cross_entropy(
    logits: Float[Array, "..."],
    labels: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
) -> Array:
  """Mean of -y log s(a) - (1 - y) log(1 - s(a)) in nats, s logistic, a the logits.

  Raises:
    ValueError: labels do not have the shape of logits, or mask does not broadcast to it.
  """
  shapes.expect_shape("labels", labels, logits.shape)
  mask = _expect_mask(mask, logits.shape)
  return masked_mean(optax.sigmoid_binary_cross_entropy(_counted(logits, mask), labels), mask)


def squared_error(
    predictions: Float[Array, "..."],
    targets: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
) -> Array:
  """Mean of (prediction - target)^2.

  Raises:
    ValueError: targets do not have the shape of predictions (a (n, 1) beside a (n,)
      would be n^2 differences), or mask does not broadcast to it.
  """
  shapes.expect_shape("targets", targets, predictions.shape)
  mask = _expect_mask(mask, predictions.shape)
  terms = optax.squared_error(_counted(predictions, mask), _counted(targets, mask))
  return masked_mean(terms, mask)


def _sum_over_leaves(f, params):
  """sum f(w) over all numbers of a tree, in at least float32; 0 for an empty tree."""
  leaves = jax.tree.leaves(params)
  dtype = jnp.result_type(*leaves, jnp.float32)
  return sum((f(w.astype(dtype)).sum() for w in leaves), start=jnp.zeros((), dtype))


def l2_penalty(params: PyTree[Float[Array, "..."]], weight: float) -> Array:
  """(weight / 2) * sum of w^2 over all numbers in params.

  With the 1/2 its gradient is weight * w, what an optimizer calls weight decay. Texts
  that write weight * sum w^2 mean half this weight.

  Args:
    params: any tree of arrays; give only the kernels where biases are not penalized.
    weight: a number.

  Returns:
    A scalar, float32 or wider.

  Source: Krogh and Hertz, "A simple weight decay can improve generalization" (1991).
  """
  return weight / 2 * _sum_over_leaves(jnp.square, params)


def l1_penalty(params: PyTree[Float[Array, "..."]], weight: float) -> Array:
  """weight * sum of |w| over all numbers in params.

  The gradient is weight * sign(w), and 0 at w = 0.

  Args:
    params: any tree of arrays.
    weight: a number.

  Returns:
    A scalar, float32 or wider.

  Source: Tibshirani, "Regression shrinkage and selection via the lasso" (1996).
  """
  # w sign(w) is |w| with the derivative 0 at 0, where that of jnp.abs is 1.
  return weight * _sum_over_leaves(lambda w: w * jnp.sign(w), params)
