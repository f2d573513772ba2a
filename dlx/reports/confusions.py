"""The confusions of classes: a picture, of the worst ones if they are many, and a list."""

from collections.abc import Callable, Sequence

import numpy as np

from dlx.experiment import OUTPUTS
from dlx.metrics import classification, tagging
from dlx.reports import figures


def draw(true: np.ndarray, predicted: np.ndarray, classes: Sequence[str], count: int = 20):
  """(a picture of the classes with the most errors or None, the most frequent errors as text).

  Args:
    true, predicted: ids of classes, of one shape.
    classes: K names.
    count: classes in the picture, at most; there is none without errors.
  """
  matrix = np.zeros((len(classes), len(classes)), int)
  np.add.at(matrix, (true, predicted), 1)
  text, shown = tagging.describe_confusions(matrix, classes), tagging.most_confused(matrix, count)
  if not len(shown):
    return None, text
  picture = figures.confusion_matrix(matrix[np.ix_(shown, shown)], [classes[k] for k in shown])
  picture.axes[0].set_title(f"the {len(shown)} classes with the most errors", fontsize=10)
  return picture, text


def make_plot_of_tags(tags_fn: Callable, tags: Sequence[str]) -> Callable:
  """`plot` of a Task that tags words: `draw` of the words whose tag is one of the K names.

  Args:
    tags_fn: as for `tagging.compared`.
    tags: K names.
  """

  def plot(variables, data, split, apply):
    examples, found, valid = tagging.compared(tags_fn, data, split, apply)
    valid &= examples["labels"] >= 0
    picture, text = draw(examples["labels"][valid], found[valid], tags)
    drawn = {} if picture is None else {f"confusion_{split}": picture}
    return {**drawn, f"confusions_{split}": text}

  return plot


def make_plot(eval_fn: Callable, classes: Sequence[str]) -> Callable:
  """`plot` of a Task that classifies documents: confusions, and the most confident errors.

  Args:
    eval_fn: as for `classification.make_measure`; examples have "labels" and "text".
    classes: K names.
  """

  def plot(variables, data, split, apply):
    examples = data.split(split)
    probabilities, labels = apply(eval_fn, examples)[OUTPUTS], examples["labels"]
    matrix = classification.confusion_matrix(probabilities, labels)
    return {
        f"confusion_{split}": figures.confusion_matrix(matrix, classes),
        f"errors_{split}": classification.describe_errors(
            examples["text"], labels, probabilities, classes
        ),
    }

  return plot
