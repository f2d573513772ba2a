"""Losses, which are masked or weighted means of optax's terms, and weight penalties.

Every loss is, with terms l, a mask m and weights w (all ones if not given),

  sum(m w l) / sum(m w)

and 0 where that is 0 / 0. A position that is masked is ignored even if it is nan or infinite,
and so is its weight; a weight of 0 is a factor, which does not hide a term that is not finite.
Sums are accumulated in at least float32.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree
import optax

from dlx.layers import shapes


def _expect_mask(mask, shape):
  """The mask as an array, checked to broadcast to `shape`; None stays None."""
  if mask is None:
    return None
  mask = jnp.asarray(mask)
  if mask.dtype != bool:
    raise ValueError(f"mask: expected dtype bool, got {mask.dtype}")
  shapes.expect_broadcast("mask", mask, shape)
  return mask


def _expect_weights(weights, shape, dtype):
  """The weights as an array of a dtype, checked to broadcast to `shape`; None stays None."""
  if weights is None:
    return None
  weights = jnp.asarray(weights)
  if weights.dtype == bool:
    raise ValueError("weights: expected numbers, got bool; a bool array is a mask")
  shapes.expect_broadcast("weights", weights, shape)
  shapes.expect_not_negative("weights", weights)
  return weights.astype(dtype)


def _ratio(terms, shares, mask, weights):
  """sum(m w terms) / sum(m w shares), or 0 where that is 0 / 0."""
  if mask is not None:
    terms, shares = jnp.where(mask, terms, 0), jnp.where(mask, shares, 0)
  if weights is not None:
    weights = weights if mask is None else jnp.where(mask, weights, 0)
    terms, shares = weights * terms, weights * shares
  total = shares.sum()
  return terms.sum() / jnp.where(total == 0, 1, total)


def masked_mean(
    values: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    *,
    weights: Float[Array, "..."] | None = None,
) -> Array:
  """The mean over the positions where the mask m is True: sum(m v) / sum(m).

  With weights w it is sum(m w v) / sum(m w).

  Args:
    values: any shape.
    mask: broadcasts to values; None includes all. The mean over no positions is 0.
    weights: broadcasts to values, at least 0; ones if None. The mean is 0 if they sum to 0.

  Returns:
    A scalar, float32 or wider. Masked values are ignored even if they are nan or infinite.

  Raises:
    ValueError: mask is not bool, mask or weights do not broadcast to the shape of values, or a
      weight is negative (it cannot be checked under jit).
  """
  (values,) = shapes.as_arrays(values)
  values = values.astype(jnp.promote_types(values.dtype, jnp.float32))
  if weights is not None:
    weights = _expect_weights(weights, values.shape, values.dtype)
    return _ratio(values, jnp.ones_like(values), _expect_mask(mask, values.shape), weights)
  if mask is None:
    return values.sum() / max(values.size, 1)
  mask = jnp.broadcast_to(_expect_mask(mask, values.shape), values.shape)
  total = jnp.where(mask, values, 0).sum()
  return total / jnp.maximum(mask.sum(), 1)


def _counted(x, mask):
  """x in at least float32, and 0 where masked, so that a nan there has no gradient."""
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  return x if mask is None else jnp.where(mask, x, 0)


def cross_entropy(
    logits: Float[Array, "... K"],
    labels: Int[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    *,
    weights: Float[Array, "..."] | None = None,
    label_smoothing: float = 0.0,
    class_weights: Float[Array, "K"] | None = None,
) -> Array:
  """Mean cross-entropy, -sum_k q_k log softmax(logits)_k, in nats.

  q_k = (1 - a) [k = label] + a / K with a the label smoothing; for a = 0 a term is
  -log softmax(logits)[label]. With weights w of positions and c of classes it is

    sum_i w_i sum_k -c_k q_ik log softmax(logits_i)_k / sum_i w_i c_label(i)

  Args:
    logits: `(..., K)`. With label smoothing a logit of -inf makes the loss infinite, since
      every class has a positive target.
    labels: class ids, `(...)`, in 0 .. K - 1. An unmasked id out of range makes the loss
      nan (it cannot be checked under jit).
    mask: True where a position is included; broadcasts to `(...)`.
    weights: w, as in `masked_mean`; broadcast to `(...)`.
    label_smoothing: a, the fraction of the target that is distributed uniformly over all
      classes, the correct one included; 0 <= a <= 1, a Python number.
    class_weights: c, `(K,)`, at least 0; ones if None. The loss over labels that all have the
      weight 0 is 0.

  Raises:
    ValueError: the shape of labels is not that of logits without its last dimension, mask or
      weights do not broadcast to it, label_smoothing is outside [0, 1], class_weights do not
      have the shape (K,), or a weight is negative (it cannot be checked under jit).

  Source: Szegedy et al., "Rethinking the Inception architecture for computer vision"
    (2016), section 7, for the smoothing; the weighted mean is PyTorch's.
  """
  if not 0 <= label_smoothing <= 1:
    raise ValueError(f"label_smoothing: expected 0 <= label_smoothing <= 1, got {label_smoothing}")
  logits, labels = shapes.as_arrays(logits, labels)
  shapes.expect_shape("labels", labels, logits.shape[:-1])
  mask = _expect_mask(mask, labels.shape)
  logits = _counted(logits, None if mask is None else mask[..., None])
  if class_weights is not None:
    terms, shares = _of_classes(logits, labels, label_smoothing, class_weights)
    return _ratio(terms, shares, mask, _expect_weights(weights, labels.shape, logits.dtype))
  terms = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  if label_smoothing:
    to_all = jax.nn.logsumexp(logits, axis=-1) - logits.mean(-1)
    terms = (1 - label_smoothing) * terms + label_smoothing * to_all
  terms = jnp.where(labels < 0, jnp.nan, terms)  # optax takes -1 as the last class.
  return masked_mean(terms, mask, weights=weights)


def _of_classes(logits, labels, label_smoothing, class_weights):
  """The terms with class weights, and the weight of each label's class."""
  weights, classes = jnp.asarray(class_weights), logits.shape[-1]
  shapes.expect_shape("class_weights", weights, (classes,))
  shapes.expect_not_negative("class_weights", weights)
  weights = weights.astype(logits.dtype)
  right = labels[..., None] == jnp.arange(classes)
  targets = weights * ((1 - label_smoothing) * right + label_smoothing / classes)
  log_p = jax.nn.log_softmax(logits)
  terms = -jnp.where(targets == 0, 0, targets * log_p).sum(-1)  # Not 0 times -inf.
  terms = jnp.where((labels < 0) | (labels >= classes), jnp.nan, terms)
  return terms, (weights * right).sum(-1)


def binary_cross_entropy(
    logits: Float[Array, "..."],
    labels: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    *,
    weights: Float[Array, "..."] | None = None,
) -> Array:
  """Mean of -y log s(a) - (1 - y) log(1 - s(a)) in nats, s the sigmoid, a the logits.

  mask and weights are those of `masked_mean`.

  Raises:
    ValueError: labels do not have the shape of logits, mask or weights do not broadcast to it,
      or a weight is negative (it cannot be checked under jit).
  """
  logits, labels = shapes.as_arrays(logits, labels)
  shapes.expect_shape("labels", labels, logits.shape)
  mask = _expect_mask(mask, logits.shape)
  terms = optax.sigmoid_binary_cross_entropy(_counted(logits, mask), labels)
  return masked_mean(terms, mask, weights=weights)


def squared_error(
    predictions: Float[Array, "..."],
    targets: Float[Array, "..."],
    mask: Bool[Array, "..."] | None = None,
    *,
    weights: Float[Array, "..."] | None = None,
) -> Array:
  """Mean of (prediction - target)^2.

  mask and weights are those of `masked_mean`.

  Raises:
    ValueError: targets do not have the shape of predictions ((n, 1) and (n,) would
      broadcast to n^2 differences), mask or weights do not broadcast to it, or a weight is
      negative (it cannot be checked under jit).
  """
  predictions, targets = shapes.as_arrays(predictions, targets)
  shapes.expect_shape("targets", targets, predictions.shape)
  mask = _expect_mask(mask, predictions.shape)
  terms = optax.squared_error(_counted(predictions, mask), _counted(targets, mask))
  return masked_mean(terms, mask, weights=weights)


def _sum_over_leaves(f, params):
  """The sum of f(w) over all entries of a tree, in at least float32; 0 for an empty tree."""
  leaves = jax.tree.leaves(params)
  dtype = jnp.result_type(*leaves, jnp.float32)
  return sum((f(w.astype(dtype)).sum() for w in leaves), start=jnp.zeros((), dtype))


def l2_penalty(params: PyTree[Float[Array, "..."]], weight: float) -> Array:
  """(weight / 2) * sum of w^2 over all entries of params.

  The gradient is weight * w, which equals weight decay in SGD. Where a source has
  weight * sum w^2, use twice its weight.

  Args:
    params: any tree of arrays; pass only the kernels if biases are not penalized.
    weight: a number.

  Returns:
    A scalar, float32 or wider.

  Source: Krogh and Hertz, "A simple weight decay can improve generalization" (1991).
  """
  return weight / 2 * _sum_over_leaves(jnp.square, params)


def l1_penalty(params: PyTree[Float[Array, "..."]], weight: float) -> Array:
  """weight * sum of |w| over all entries of params.

  The gradient is weight * sign(w), and 0 at w = 0.

  Args:
    params: any tree of arrays.
    weight: a number.

  Returns:
    A scalar, float32 or wider.

  Source: Tibshirani, "Regression shrinkage and selection via the lasso" (1996).
  """
  # w sign(w) is |w|, but its derivative at 0 is 0, while that of jnp.abs is 1.
  return weight * _sum_over_leaves(lambda w: w * jnp.sign(w), params)
