"""Distillation: a document classifier that learns from the probabilities of other runs.

The teachers read the training documents once, before the first step. Their probabilities are an
asset of the new run, which needs the teachers' folders no more.
"""

from collections.abc import Mapping, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from dlx.layers import distillation, losses
from dlx.training import classifiers

TEACHER = "teacher"  # The probabilities, among the assets and in a batch.


def targets(config, assets: dict, texts: Sequence[str]) -> dict[str, np.ndarray]:
  """{TEACHER: the mean over the teachers of softmax(logits / T), float32 (N, K)}; {} without one.

  It is added to the assets, from which a resumed run has it.

  Args:
    config: `teacher`, folders of runs, and `distillation.temperature`, T.
    assets: with "classes".
    texts: the training documents.

  Raises:
    UserError: a teacher is not a run, or not a classifier of documents with these classes.
  """
  if not config.teacher:
    return {}
  if TEACHER not in assets:
    teachers = classifiers.opened(config.teacher, assets["classes"])
    temperature = config.distillation.temperature
    found = [classifiers.log_probabilities(r, texts, temperature=temperature) for r in teachers]
    assets[TEACHER] = np.mean(np.exp(found), 0, dtype=np.float32)
  return {TEACHER: assets[TEACHER]}


def loss(
    logits: Float[Array, "B K"],
    batch: Mapping[str, Array],
    *,
    weight: float,
    temperature: float,
    label_smoothing: float = 0.0,
) -> Array:
  """The mean over a batch of (1 - a) H(label, p) - a T^2 sum_k q_k log softmax(z / T)_k.

  H is the cross-entropy with the label, a the weight, q the teacher's probabilities. An unlabelled
  document has a = 1; without a teacher a is 0.

  Args:
    logits: z.
    batch: "labels" (B,), -1 for an unlabelled document, and TEACHER, q (B, K), where there is one.
    weight: a.
    temperature: T, also of the teacher's probabilities.
    label_smoothing: of H.
  """
  labels = batch["labels"]
  if TEACHER not in batch:
    return losses.cross_entropy(logits, labels, label_smoothing=label_smoothing)
  dtype, known = jnp.promote_types(logits.dtype, jnp.float32), labels >= 0
  hard = losses.cross_entropy(logits, labels, known, label_smoothing=label_smoothing)
  shares = jnp.where(known, weight, 1.0).astype(dtype)
  soft = distillation.soft_cross_entropy(
      logits, batch[TEACHER], weights=shares, temperature=temperature
  )
  return (1 - weight) * known.mean(dtype=dtype) * hard + shares.mean() * soft


def accuracy(logits: Float[Array, "B K"], labels: Array) -> Array:
  """Of the labelled documents."""
  return losses.masked_mean(logits.argmax(-1) == labels, labels >= 0)
