"""Pictures of functions of one or two variables beside the examples they were fitted to."""

from collections.abc import Callable, Mapping, Sequence

from matplotlib.colors import to_rgba_array
from matplotlib.figure import Figure
import numpy as np

from dlx.reports import figures

_SIDE = 160  # Points of a grid, in each direction.
_SHOWN = 500  # Examples in a picture, at most.


def grid(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """(x (n,), y (n,), their pairs (n^2, 2)) around points (N, 2), a tenth beyond them."""
  low, high = points.min(0), points.max(0)
  margin = 0.1 * (high - low)
  x, y = np.linspace(low - margin, high + margin, _SIDE).T
  return x, y, np.stack(np.meshgrid(x, y), -1).reshape(-1, 2)


def decision(
    probabilities: Callable, points: np.ndarray, labels: np.ndarray, classes: Sequence[str],
    names: Sequence[str],
) -> Figure:  # fmt: skip
  """Examples in the plane, on the class that a model predicts at every place.

  The color is that of the most probable class, pale where its probability is low; lines are where
  two classes are equally probable.

  Args:
    probabilities: of points (M, 2), (M, K).
    points: (N, 2).
    labels: (N,), indices into `classes`.
    classes: K names.
    names: of the two axes.
  """
  x, y, pairs = grid(points)
  found = np.asarray(probabilities(pairs)).reshape(len(y), len(x), -1)
  names_of_colors = [f"C{k % 10}" for k in range(len(classes))]
  colors = to_rgba_array(names_of_colors)[:, :3]
  shades = 1 - 0.6 * found[..., None] * (1 - colors)
  winner = found.argmax(-1)
  shown = np.take_along_axis(shades, winner[..., None, None], 2)[:, :, 0]
  result = figures.figure(6, 5)
  axes = result.subplots()
  axes.imshow(shown, extent=(x[0], x[-1], y[0], y[-1]), origin="lower", aspect="auto")
  for k in range(len(classes) if len(classes) > 2 else 1):
    others = np.delete(found, k, -1).max(-1)
    if (winner == k).any() and (winner != k).any():
      axes.contour(x, y, found[..., k] - others, [0], colors="0.3", linewidths=1)
  points, labels = points[:_SHOWN], labels[:_SHOWN]
  handles = [
      axes.scatter(*points[labels == k].T, s=14, color=color, edgecolors="white", linewidths=0.4)
      for k, color in enumerate(names_of_colors)
  ]
  figures.legend(axes, classes, handles, fontsize=8, loc="upper right")
  _label(axes, names)
  result.set_layout_engine("tight")
  return result


def curve(
    predict: Callable, parts: Mapping[str, tuple[np.ndarray, np.ndarray]], names: Sequence[str],
    *, line: str = "model",
) -> Figure:  # fmt: skip
  """A fitted function of one variable, and the examples.

  Args:
    predict: of x (M,), (M,).
    parts: for each of one or two names the examples (x (N,), y (N,)).
    names: of the two axes.
    line: the name of the function.
  """
  every = np.concatenate([x for x, _ in parts.values()])
  x = np.linspace(every.min(), every.max(), 500)
  result = figures.figure(6, 4)
  axes = result.subplots()
  styles = [{"s": 22, "color": "C0", "zorder": 3}, {"s": 8, "color": "0.7"}]
  handles = [
      axes.scatter(*(v[:_SHOWN] for v in pair), **style)
      for pair, style in zip(parts.values(), styles)
  ]
  targets = np.concatenate([y for _, y in parts.values()])
  handles += axes.plot(x, predict(x), "C3")
  figures.legend(axes, [*parts, line], handles, fontsize=8)
  margin = 0.2 * np.ptp(targets) or 1.0
  axes.set_ylim(targets.min() - margin, targets.max() + margin)  # Also if the model leaves it.
  _label(axes, names)
  result.set_layout_engine("tight")
  return result


def lines(
    x: Sequence[float], curves: Mapping[str, Sequence[float]], names: Sequence[str]
) -> Figure:
  """Numbers over a number, such as errors over the degree of a polynomial, on a log scale.

  Args:
    x: (M,).
    curves: for each name (M,), above 0.
    names: of the two axes.
  """
  result = figures.figure(6, 4)
  axes = result.subplots()
  handles = [axes.plot(x, y, "o-", markersize=4)[0] for y in curves.values()]
  figures.legend(axes, list(curves), handles, fontsize=8)
  axes.set_yscale("log")
  axes.grid(alpha=0.25, which="both")
  _label(axes, names)
  result.set_layout_engine("tight")
  return result


def _label(axes, names) -> None:
  axes.set_xlabel(names[0], parse_math=False)
  axes.set_ylabel(names[1], parse_math=False)
  axes.spines[["top", "right"]].set_visible(False)
