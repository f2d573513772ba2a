"""What Tasks share whose inputs are vectors: metrics, predictions and figures.

Of classes: cross-entropy, accuracy, F1; confusions, errors of images, decisions in the plane.
Of numbers: squared error, R^2, RMSE; the fitted curve, or predictions over targets.
"""

from collections.abc import Callable
from typing import NamedTuple

from dlx.data.schema import Schema
from dlx.experiment import OUTPUTS
from dlx.metrics import classification, regression
from dlx.reports import figures, plane


class Shared(NamedTuple):
  """Fields of a dlx.experiment.Task."""

  eval_fn: Callable
  measure_fn: Callable
  predict: Callable
  plot: Callable
  unit: str


def shared(outputs_fn: Callable, schema: Schema) -> Shared:
  """The fields that follow from the outputs of a network.

  Args:
    outputs_fn: `outputs_fn(variables, batch)`, logits (B, K) or standardized numbers (B,).
    schema: of the inputs.
  """
  if schema.classes:
    eval_fn = classification.make_eval(outputs_fn)
    return Shared(
        eval_fn,
        classification.make_measure(eval_fn, schema.classes),
        classification.make_predict(outputs_fn, schema.classes, schema.read),
        _make_plot_of_classes(eval_fn, outputs_fn, schema),
        "nats per example",
    )
  of_batch = regression.make_outputs(outputs_fn)
  return Shared(
      regression.make_eval(outputs_fn),
      regression.make_measure(of_batch, schema.numbers),
      regression.make_predict(of_batch, schema.numbers, schema.read),
      _make_plot_of_numbers(of_batch, schema),
      "squared error, standardized",
  )


def _make_plot_of_classes(eval_fn, logits_fn, schema):
  probabilities_fn = classification.make_probabilities(logits_fn)

  def plot(variables, data, split, apply):
    examples, classes = data.split(split), schema.classes
    probabilities, labels = apply(eval_fn, examples)[OUTPUTS], examples["labels"]
    matrix = classification.confusion_matrix(probabilities, labels)
    drawn = {f"confusion_{split}": figures.confusion_matrix(matrix, classes)}
    if schema.shape:
      images = schema.images(examples["inputs"])
      drawn[f"errors_{split}"] = figures.image_errors(images, labels, probabilities, classes)
    elif schema.size == 2:
      points = schema.values(examples["inputs"])
      at = lambda pairs: apply(probabilities_fn, schema.vectors(pairs))  # noqa: E731
      drawn[f"plane_{split}"] = plane.decision(at, points, labels, classes, schema.features)
    return drawn

  return plot


def _make_plot_of_numbers(of_batch, schema):
  def plot(variables, data, split, apply):
    examples = data.split(split)
    predict = lambda arrays: schema.numbers(apply(of_batch, arrays))  # noqa: E731
    if schema.size > 1:
      pairs = {split: (schema.numbers(examples["targets"]), predict(examples))}
      names = "target", "prediction"
      return {f"predictions_{split}": plane.curve(lambda y: y, pairs, names, line="equal")}
    parts = {"training": data.train, split: examples}
    pairs = {
        name: (schema.values(part["inputs"])[:, 0], schema.numbers(part["targets"]))
        for name, part in parts.items()
    }
    at = lambda x: predict(schema.vectors(x[:, None]))  # noqa: E731
    return {f"curve_{split}": plane.curve(at, pairs, (schema.features[0], "target"))}

  return plot
