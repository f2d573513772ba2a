"""Figures: grids of images, first-layer filters, confusion matrices, errors, forecasts.

Every function returns a matplotlib Figure and writes nothing; no pyplot state is touched. Names
are drawn as they are: a $ starts no formula, and a name may begin with _.
"""

from collections.abc import Mapping, Sequence
import io
import math
import pathlib
import warnings

from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

from dlx.metrics import classification
from dlx.runs import files

_LITERAL = {"parse_math": False}  # Of a text that is a name.
_LABELLED = 40  # More classes leave no room for every name and count.


def figure(width: float, height: float) -> Figure:
  """An empty figure; sizes in inches."""
  return Figure(figsize=(width, height), dpi=150)


def save(content: Figure, path: pathlib.Path) -> pathlib.Path:
  """Writes a figure to a PNG file; returns its path.

  Warns once if fonts lack letters of the figure; matplotlib would for each of them, here and
  when it computes a layout. So figures set a layout engine, which works here.
  """
  image = io.BytesIO()
  with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    content.savefig(image, format="png")
  lacking = [w for w in caught if "missing from font" in str(w.message)]
  for other in caught:
    if other not in lacking:
      warnings.warn_explicit(other.message, other.category, other.filename, other.lineno)
  if lacking:
    warnings.warn(
        f"{path.name}: letters that matplotlib's fonts lack are drawn as boxes", stacklevel=2
    )
  files.write(path, image.getvalue())
  return path


def legend(axes: Axes, names: Sequence[str], handles: Sequence, **options) -> None:
  """A legend of names as they are; matplotlib leaves out those that begin with _."""
  texts = axes.legend(handles, [str(i) for i in range(len(names))], **options).get_texts()
  for text, name in zip(texts, names):
    text.set_parse_math(False)
    text.set_text(name)


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
  result.set_layout_engine("none")
  axes = result.add_axes((0, 0, 1, 1))
  axes.set_axis_off()
  for i, image in enumerate(images):
    top, left = above + i // columns * (h + above), gap + i % columns * (w + gap)
    sheet[top : top + h, left : left + w] = image
    if titles is not None:
      at = left + w / 2 - 0.5, top - 0.5 - 0.03 * w / side
      axes.text(*at, titles[i], fontsize=7, ha="center", va="bottom", **_LITERAL)
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
  """Points in the plane, (N, 2), colored by class; without a legend for more than 40 classes.

  Args:
    points: (N, 2).
    labels: (N,), indices into `classes`.
    classes: their names.
  """
  result = figure(6.5, 5)
  axes = result.subplots()
  handles = [
      axes.scatter(*points[labels == k].T, s=3, alpha=0.5, color=f"C{k % 10}")
      for k in range(len(classes))
  ]
  place = {"loc": "center left", "bbox_to_anchor": (1, 0.5)}
  if len(classes) <= _LABELLED:
    legend(axes, classes, handles, markerscale=3, fontsize=8, **place)
  axes.spines[["top", "right"]].set_visible(False)
  result.set_layout_engine("tight")
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

  With more than 40 classes the counts, and the names of most classes, are left out.

  Args:
    matrix: (K, K), row the true class, column the predicted one.
    classes: their names.
  """
  side = 2.5 + 0.5 * min(len(classes), _LABELLED)
  result = figure(side, side)
  axes = result.subplots()
  rates = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
  off = rates - np.diag(np.diag(rates))  # The color scale is for the errors.
  axes.imshow(off, cmap="Reds", vmin=0, vmax=max(off.max(), 0.01))
  cells = np.argwhere(matrix) if len(classes) <= _LABELLED else ()
  for i, j in cells:
    light = off[i, j] > 0.6 * max(off.max(), 0.01)
    style = {"weight": "bold"} if i == j else {"color": "white" if light else "black"}
    axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=8, **style)
  named = range(0, len(classes), -(-len(classes) // _LABELLED) or 1)
  names = [classes[i] for i in named]
  axes.set_xticks(named, names, rotation=60, ha="right", **_LITERAL)
  axes.set_yticks(named, names, **_LITERAL)
  axes.set_xlabel("predicted")
  axes.set_ylabel("true")
  total = max(matrix.sum(), 1)
  axes.set_title(f"accuracy {matrix.trace() / total:.2%}\n{total:,} examples", fontsize=10)
  result.set_layout_engine("tight")
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


def forecasts(values: np.ndarray, panels: Mapping[str, np.ndarray]) -> Figure:
  """A series with forecasts of it, one kind in each panel.

  Args:
    values: (N,).
    panels: for each title the forecasts, (N,).
  """
  result = figure(6.5 * len(panels), 3)
  margin = 0.25 * np.ptp(values)
  for axes, (title, found) in zip(np.atleast_1d(result.subplots(1, len(panels))), panels.items()):
    lines = [axes.plot(values, "0.6", lw=2)[0], axes.plot(found, "C0", lw=1)[0]]
    legend(axes, ["series", "forecast"], lines, fontsize=8, loc="upper right")
    # A forecast that diverges leaves the panel; the series stays readable.
    axes.set_ylim(values.min() - margin, values.max() + margin)
    axes.set_title(title, fontsize=10, **_LITERAL)
    axes.set_xlabel("value of the split")
    axes.spines[["top", "right"]].set_visible(False)
  result.set_layout_engine("tight")
  return result
