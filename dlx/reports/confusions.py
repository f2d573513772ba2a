"""The confusions of many classes: a picture of the worst ones, and a list."""

from collections.abc import Sequence

import numpy as np

from dlx.metrics import tagging
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
