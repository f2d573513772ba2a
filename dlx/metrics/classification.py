"""Metrics of a classifier's probabilities in plain numpy, and the functions of a Task from them."""

from collections.abc import Callable, Sequence
import functools
import textwrap
import warnings

import jax
import numpy as np
import optax

from dlx.errors import UserError
from dlx.experiment import OUTPUTS


def confusion_matrix(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Counts (K, K): row the true class, column the predicted one.

  Args:
    probabilities: `(N, K)`.
    labels: `(N,)`, classes 0 to K - 1.
  """
  classes = probabilities.shape[-1]
  cells = labels * classes + probabilities.argmax(-1)
  return np.bincount(cells, minlength=classes**2).reshape(classes, classes)


def f1(matrix: np.ndarray) -> float:
  """Macro F1: the mean over classes of the harmonic mean of precision and recall.

  F1 = 2 TP / (2 TP + FP + FN). A class that neither occurs nor is predicted has none and is
  left out of the mean; without examples the result is nan.

  Args:
    matrix: counts (K, K), row the true class, column the predicted one.

  Source: van Rijsbergen, "Information retrieval" (1979), chapter 7.
  """
  right = matrix.diagonal()
  total = matrix.sum(0) + matrix.sum(1)
  scored = total > 0
  return float((2 * right[scored] / total[scored]).mean()) if scored.any() else float("nan")


def calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
  """Expected calibration error: the mean gap between confidence and accuracy.

  sum_b (n_b / N) |accuracy_b - confidence_b| over bins of equal width of the confidence,
  the largest probability; bin b holds b / bins < confidence <= (b + 1) / bins.

  Args:
    probabilities: `(N, K)`.
    labels: `(N,)`.
    bins: their number.

  Source: Guo, Pleiss, Sun, Weinberger, "On calibration of modern neural networks" (2017),
    equation 3.
  """
  confidence = probabilities.max(-1).astype(np.float64)
  right = probabilities.argmax(-1) == labels
  bin_ = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
  # n_b (accuracy_b - confidence_b) is a plain sum over the bin.
  gaps = np.bincount(bin_, weights=right - confidence, minlength=bins)
  return float(np.abs(gaps).sum() / len(labels))


def most_confident_errors(
    probabilities: np.ndarray, labels: np.ndarray, count: int
) -> np.ndarray:
  """The indices of at most `count` misclassified examples, the most confident first."""
  wrong = np.flatnonzero(probabilities.argmax(-1) != labels)
  return wrong[np.argsort(-probabilities[wrong].max(-1), kind="stable")][:count]


def top_k(
    probabilities: np.ndarray, classes: Sequence[str], k: int
) -> list[tuple[str, float]]:
  """The k most probable classes of one example with their probabilities (K,)."""
  best = np.argsort(-probabilities, kind="stable")[:k]
  return [(classes[i], float(probabilities[i])) for i in best]


def describe_errors(
    documents: Sequence[str],
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    count: int = 50,
) -> str:
  """The misclassified documents with the most confident predictions, as text."""
  parts = []
  for i in most_confident_errors(probabilities, labels, count):
    k = probabilities[i].argmax()
    head = f"predicted {classes[k]} ({probabilities[i, k]:.1%}), true {classes[labels[i]]}:"
    parts.append(f"{head}\n{textwrap.fill(documents[i], 98)}\n")
  return "\n".join(parts)


def make_eval(logits_fn: Callable) -> Callable:
  """`eval_fn` of a Task: "loss", "accuracy", and the probabilities (B, K) as OUTPUTS.

  Args:
    logits_fn: `logits_fn(variables, batch) -> (B, K)`; batch["labels"] has the true classes.
  """

  def eval_fn(variables, batch, rng):
    logits, labels = logits_fn(variables, batch), batch["labels"]
    return {
        "loss": optax.softmax_cross_entropy_with_integer_labels(logits, labels),
        "accuracy": logits.argmax(-1) == labels,
        OUTPUTS: jax.nn.softmax(logits),
    }

  return eval_fn


@functools.lru_cache(maxsize=32)  # `apply` recognizes the same function.
def make_probabilities(logits_fn: Callable) -> Callable:
  """`probabilities_fn(variables, batch, rng) -> (B, K)`, for `apply`."""
  return lambda variables, batch, rng: jax.nn.softmax(logits_fn(variables, batch))


def make_measure(eval_fn: Callable, classes: Sequence[str]) -> Callable:
  """`measure_fn` of a Task: F1, calibration error and the accuracy of each class that occurs.

  Warns once of classes without a training example, which a classifier cannot learn.

  Args:
    eval_fn: of the Task, with the probabilities of `make_eval`.
    classes: K names.

  measure_fn raises UserError if an example of the split has no label, -1.
  """

  def measure_fn(variables, data, split, apply):
    if "labels" in data.train:
      _warn_of_missing(data.train["labels"], classes)
    examples = data.split(split)
    if unlabelled := int((examples["labels"] < 0).sum()):
      raise UserError(f"{unlabelled} documents of the {split} split have no label to compare with")
    probabilities = apply(eval_fn, examples)[OUTPUTS]
    matrix = confusion_matrix(probabilities, examples["labels"])
    counts = matrix.sum(1)
    return {
        "F1": f1(matrix),
        "calibration error": calibration_error(probabilities, examples["labels"]),
        **{
            f"accuracy of {classes[k]}": matrix[k, k] / counts[k] for k in np.flatnonzero(counts)
        },
    }

  return measure_fn


def _warn_of_missing(labels, classes):
  missing = np.setdiff1d(np.arange(len(classes)), labels)
  if len(missing):
    names = ", ".join(classes[k] for k in missing[:5]) + (", ..." if len(missing) > 5 else "")
    warnings.warn(  # By default Python shows the same warning once.
        f"the training examples have none of {len(missing)} of {len(classes)} classes: {names}",
        stacklevel=3,
    )


def make_predict(logits_fn: Callable, classes: Sequence[str], read: Callable) -> Callable:
  """`predict` of a Task: each line with its most probable classes.

  Args:
    logits_fn: as for `make_eval`.
    classes: K names.
    read: `read(lines) -> arrays`, the examples of the lines.
  """
  probabilities_fn = make_probabilities(logits_fn)

  def predict(variables, lines, apply, *, top: int = 3, json: bool = False):
    return predictions(lines, apply(probabilities_fn, read(lines)), classes, top=top, json=json)

  return predict


def predictions(
    lines: Sequence[str], probabilities: np.ndarray, classes: Sequence[str], *, top: int, json: bool
) -> list[str] | list[dict]:
  """What `predict` of a Task returns: each line with its most probable classes.

  Args:
    lines: the inputs.
    probabilities: (N, K).
    classes: K names.
    top: how many of them.
    json: {"input": line, "probabilities": {name: p}} instead of a string.
  """
  found = [(line, top_k(row, classes, top)) for line, row in zip(lines, probabilities)]
  if json:
    return [{"input": line, "probabilities": dict(pairs)} for line, pairs in found]
  return [f"{line}: " + ", ".join(f"{name} {p:.1%}" for name, p in pairs) for line, pairs in found]
