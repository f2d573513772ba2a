"""Figures: grids of images, first-layer filters, confusion matrices, classification errors.

Every function returns a matplotlib Figure and writes nothing; no pyplot state is touched.
"""

from collections.abc import Sequence
import math
import pathlib

from matplotlib.figure import Figure
import numpy as np

from dlx.metrics import classification


def figure(width: float, height: float) -> Figure:
  """An empty figure; sizes in inches."""
  return Figure(figsize=(width, height), dpi=150)


def save(content: Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes a figure to a PNG file; returns its path."""
  content.savefig(path)
  return path


def image_grid(
    images: Sequence[np.ndarray],
    *,
    columns: int = 8,
    titles: Sequence[str] | None = None,
    value_range: tuple[float, float] = (0.0, 1.0),
    side: float = 0.7,
) -> Figure:
  """Images of one size in rows.

  Args:
    images: each (H, W), (H, W, 1) or (H, W, 3); uint8, or floats in `value_range`.
    columns: images per row, at most.
    titles: one above each image.
    value_range: (black, white) of floats.
    side: the width of an image, in inches.
  """
  images = [_as_rgb(np.asarray(image), value_range) for image in images]
  h, w = images[0].shape[:2] if images else (1, 1)
  columns = max(1, min(columns, len(images)))
  rows = -(-len(images) // columns)
  gap = above = max(1, w // 16)
  if titles is not None:
    lines = 1 + max((title.count("\n") for title in titles), default=0)
    above = max(gap, math.ceil((0.125 * lines + 0.05) * w / side))
  # One image instead of one pair of axes for each, which take 12 ms.
  sheet = np.ones((rows * (h + above) + gap, columns * (w + gap) + gap, 3))
  result = figure(*(side * pixels / w for pixels in sheet.shape[1::-1]))
  axes = result.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  for i, image in enumerate(images):
    top, left = above + i // columns * (h + above), gap + i % columns * (w + gap)
    sheet[top : top + h, left : left + w] = image
    if titles is not None:
      at = left + w / 2 - 0.5, top - 0.5 - 0.03 * w / side
      axes.text(*at, titles[i], fontsize=7, ha="center", va="bottom")
  axes.imshow(sheet, interpolation="nearest", aspect="auto")
  return result


def _as_rgb(image: np.ndarray, value_range: tuple[float, float]) -> np.ndarray:
  low, high = (0, 255) if image.dtype == np.uint8 else value_range
  image = image if image.ndim == 3 else image[..., None]
  scaled = np.clip((image.astype(float) - low) / (high - low), 0, 1)
  return np.broadcast_to(scaled, (*scaled.shape[:2], 3))


def reconstructions(
    inputs: np.ndarray, outputs: np.ndarray, *, columns: int = 12
) -> Figure:
  """Images in rows, each row above the row of their reconstructions.

  Args:
    inputs: uint8 (N, H, W, C).
    outputs: floats in [0, 1], (N, H, W, C).
    columns: images per row; complete rows are shown.
  """
  columns = min(columns, len(inputs))
  rows = len(inputs) // columns
  pairs = np.stack([np.asarray(inputs) / 255, outputs])[:, : rows * columns]
  pairs = pairs.reshape(2, rows, columns, *pairs.shape[2:]).swapaxes(0, 1)
  return image_grid(list(pairs.reshape(-1, *pairs.shape[3:])), columns=columns)


def scatter(points: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> Figure:
  """Points in the plane, (N, 2), colored by class.

  Args:
    points: (N, 2).
    labels: (N,), indices into `classes`.
    classes: their names.
  """
  result = figure(6.5, 5)
  axes = result.subplots()
  for k, name in enumerate(classes):
    axes.scatter(*points[labels == k].T, s=3, alpha=0.5, color=f"C{k % 10}", label=name)
  axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=3, fontsize=8)
  axes.spines[["top", "right"]].set_visible(False)
  result.tight_layout()
  return result


def filters(kernel: np.ndarray) -> Figure:
  """The kernels of a first layer as images; gray is zero.

  Args:
    kernel: (h, w, 3, n) or (h, w, 1, n); each of the n is scaled by its largest element.
  """
  largest = np.abs(kernel).max((0, 1, 2), keepdims=True)
  shown = 0.5 + 0.5 * kernel / np.maximum(largest, 1e-12)
  return image_grid(list(np.moveaxis(shown, -1, 0)), columns=12)


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str]) -> Figure:
  """Counts by true and predicted class; the color is the fraction of the true class.

  Args:
    matrix: (K, K), row the true class, column the predicted one.
    classes: their names.
  """
  side = 2.5 + 0.5 * len(classes)
  result = figure(side, side)
  axes = result.subplots()
  rates = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  off = rates - np.diag(np.diag(rates))  # The color scale is for the errors.
  axes.imshow(off, cmap="Reds", vmin=0, vmax=max(off.max(), 0.01))
  for (i, j), count in np.ndenumerate(matrix):
    if count:
      light = off[i, j] > 0.6 * max(off.max(), 0.01)
      style = {"weight": "bold"} if i == j else {"color": "white" if light else "black"}
      axes.text(j, i, f"{count}", ha="center", va="center", fontsize=8, **style)
  axes.set_xticks(range(len(classes)), classes, rotation=60, ha="right")
  axes.set_yticks(range(len(classes)), classes)
  axes.set_xlabel("predicted")
  axes.set_ylabel("true")
  total = max(matrix.sum(), 1)
  axes.set_title(f"accuracy {matrix.trace() / total:.2%} of {total:,} examples", fontsize=10)
  result.tight_layout()
  return result


def image_errors(
    images: np.ndarray,
    labels: np.ndarray,
    probabilities: np.ndarray,
    classes: Sequence[str],
    *,
    count: int = 24,
) -> Figure:
  """The misclassified images with the most confident predictions.

  Args:
    images: uint8 (N, H, W, C).
    labels: (N,), the true classes.
    probabilities: (N, K).
    classes: K names.
    count: at most so many images.
  """
  indices = classification.most_confident_errors(probabilities, labels, count)
  predicted = probabilities.argmax(-1)
  titles = [
      f"{classes[predicted[i]]} {probabilities[i, predicted[i]]:.0%}\ntrue: {classes[labels[i]]}"
      for i in indices
  ]
  return image_grid([images[i] for i in indices], columns=6, titles=titles, side=1.5)
