"""A map of documents' vectors in the plane."""

from collections.abc import Callable, Sequence

from matplotlib.figure import Figure
import numpy as np

from dlx.reports import confusions, figures

_MOST = 3000  # Points of a picture.


def draw(vectors: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
  """Vectors projected on the two directions of their largest variance, in the colors of classes.

  Args:
    vectors: (N, D); of more than 3,000 every N / 3,000th is drawn.
    labels: (N,), classes 0 to K - 1.
    classes: K names.
  """
  chosen = np.linspace(0, len(vectors) - 1, min(len(vectors), _MOST)).astype(int)
  x, labels = vectors[chosen] - vectors[chosen].mean(0), labels[chosen]
  _, sizes, directions = np.linalg.svd(x, full_matrices=False)
  points = x @ directions[:2].T
  figure = figures.figure(7, 6)
  axes = figure.subplots()
  shown = np.unique(labels)
  handles = [
      axes.scatter(*points[labels == k].T, s=6, alpha=0.5, linewidths=0, color=f"C{k % 10}")
      for k in shown
  ]
  shares = sizes[:2] ** 2 / max((sizes**2).sum(), 1e-30)
  axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
  axes.set_ylabel(f"second ({shares[1]:.0%})")
  axes.spines[["top", "right"]].set_visible(False)
  names = [classes[k] for k in shown]
  figures.legend(axes, names, handles, frameon=False, markerscale=2)
  figure.set_layout_engine("tight")
  return figure


def make_plot(vectors_fn: Callable, eval_fn: Callable, classes: Sequence[str]) -> Callable:
  """`plot` of a Task: the map of `vectors_fn(variables, batch, rng)`, and the confusions."""
  of_confusions = confusions.make_plot(eval_fn, classes)

  def plot(variables, data, split, apply):
    examples = data.split(split)
    picture = draw(apply(vectors_fn, examples), examples["labels"], classes)
    return {**of_confusions(variables, data, split, apply), f"documents_{split}": picture}

  return plot
