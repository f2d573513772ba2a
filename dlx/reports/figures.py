"""Pictures of a run, drawn from its metric_log.jsonl."""

from collections.abc import Callable, Sequence
import pathlib

import matplotlib
import numpy as np

matplotlib.use("Agg")  # No screen is needed.
from matplotlib import pyplot as plt  # noqa: E402

from dlx.data.images import Images  # noqa: E402
from dlx.metrics import classification
from dlx.runs import metric_log


def curves(
    workdir: str | pathlib.Path,
    *,
    metric: str = "loss",
    unit: str = "",
    best: Callable = min,
    name: str = "curves.png",
) -> pathlib.Path:
  """Draws training and validation `metric` over steps.

  Args:
    workdir: a run's folder.
    metric: drawn from lines with `metric` and lines with `validation/metric`.
    unit: of the vertical axis, "nats per character" say.
    best: min or max, what is good.
    name: of the picture.

  Returns:
    The picture's path.
  """
  workdir = pathlib.Path(workdir)
  lines = metric_log.read(workdir / metric_log.METRICS)
  training = [(line["step"], line[metric]) for line in lines if metric in line]
  key = f"validation/{metric}"
  validation = [(line["step"], line[key]) for line in lines if key in line]

  figure, axes = plt.subplots(figsize=(7, 4.2), dpi=150)
  if training:
    axes.plot(*zip(*training), color="#9ecae1", linewidth=1, label="training")
  if validation:
    axes.plot(*zip(*validation), color="#08519c", linewidth=1.8, label="validation")
    step, found = best(validation, key=lambda point: point[1])
    axes.plot(step, found, "o", color="#08519c", markersize=5)
    axes.annotate(
        f"{found:.4f}", (step, found), xytext=(0, 9), textcoords="offset points", ha="center"
    )
    # The first steps are so far off that the rest would be a flat line.
    values = [value for _, value in validation + training[-len(training) // 2 :]]
    low, high = min(values), max(values)
    margin = 0.1 * max(high - low, 0.1 * abs(found))
    axes.set_ylim(low - margin, high + margin)
  axes.set_xlabel("step")
  axes.set_ylabel(f"{metric} ({unit})" if unit else metric)
  axes.grid(alpha=0.25)
  axes.spines[["top", "right"]].set_visible(False)
  if training or validation:
    axes.legend(frameon=False)
  figure.tight_layout()
  return save(figure, workdir / name)


def figure(width: float, height: float) -> plt.Figure:
  """An empty picture, in inches."""
  return plt.figure(figsize=(width, height), dpi=150)


def save(figure: plt.Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes a picture and lets go of it."""
  figure.savefig(path)
  plt.close(figure)
  return path


def filters(path: pathlib.Path, kernel: np.ndarray) -> None:
  """Draws the kernels of a first layer as small pictures; grey is zero.

  Args:
    path: of the picture.
    kernel: (h, w, 3, n), or (h, w, 1, n); each of the n is scaled by its largest element.
  """
  largest = np.abs(kernel).max((0, 1, 2), keepdims=True)
  shown = 0.5 + 0.5 * kernel / np.maximum(largest, 1e-12)
  columns = min(12, kernel.shape[-1])
  rows = -(-kernel.shape[-1] // columns)
  figure, axes = plt.subplots(
      rows, columns, figsize=(0.7 * columns, 0.7 * rows + 0.1), dpi=150, squeeze=False
  )
  for axis in axes.flat:
    axis.set_axis_off()
  for axis, image in zip(axes.flat, np.moveaxis(shown, -1, 0)):
    axis.imshow(image, cmap="gray", vmin=0, vmax=1)
  figure.tight_layout()
  save(figure, path)


def confusion_matrix(path: pathlib.Path, matrix: np.ndarray, classes: Sequence[str]) -> None:
  """Draws counts (right class, likeliest class); colours are shares of a right class.

  Args:
    path: of the picture.
    matrix: (K, K).
    classes: their names.
  """
  side = 2.5 + 0.5 * len(classes)
  figure, axes = plt.subplots(figsize=(side, side), dpi=150)
  shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  off = shares - np.diag(np.diag(shares))  # The mistakes share out the colours.
  axes.imshow(off, cmap="Reds", vmin=0, vmax=max(off.max(), 0.01))
  for (i, j), count in np.ndenumerate(matrix):
    if count:
      light = off[i, j] > 0.6 * max(off.max(), 0.01)
      style = {"weight": "bold"} if i == j else {"color": "white" if light else "black"}
      axes.text(j, i, f"{count}", ha="center", va="center", fontsize=8, **style)
  axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right")
  axes.set_yticks(range(len(classes)), classes)
  axes.set_xlabel("taken for")
  axes.set_ylabel("is")
  total = max(matrix.sum(), 1)
  axes.set_title(f"{matrix.trace() / total:.2%} of {total:,} right", fontsize=10)
  figure.tight_layout()
  save(figure, path)


def mistakes(path: pathlib.Path, data: Images, probabilities: np.ndarray, count: int = 24) -> None:
  """Draws the wrongly classified images that the model is surest about.

  Args:
    path: of the picture.
    data: images and right labels.
    probabilities: (N, K).
    count: at most so many.
  """
  places = classification.most_confident_mistakes(probabilities, data.labels, count)
  columns = 6
  rows = max(1, -(-len(places) // columns))
  figure, axes = plt.subplots(
      rows, columns, figsize=(1.6 * columns, 2.0 * rows), dpi=150, squeeze=False
  )
  for axis in axes.flat:
    axis.set_axis_off()
  for axis, place in zip(axes.flat, places):
    taken_for = probabilities[place].argmax()
    axis.imshow(data.images[place])
    axis.set_title(
        f"{data.classes[taken_for]} {probabilities[place, taken_for]:.0%}\n"
        f"is {data.classes[data.labels[place]]}",
        fontsize=7,
    )
  figure.tight_layout()
  save(figure, path)
