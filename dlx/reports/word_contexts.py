"""The vectors of a word in several sentences, layer by layer, coloured by its sense."""

from collections.abc import Mapping, Sequence
import math

from jaxtyping import Float
from matplotlib.figure import Figure
import numpy as np

from dlx.metrics import representations
from dlx.reports import figures

_LISTED = 24  # More sentences are not numbered.
_MARKERS = "osD^vP*X"


def draw(
    word: str,
    chosen: Sequence[tuple[str, str]],
    layers: Mapping[str, Float[np.ndarray, "N D"]],
    cosines: Sequence[tuple[float, float]],
) -> Figure:
  """The vectors of each layer on their principal components, the cosines, and the sentences.

  Args:
    word: the word.
    chosen: N sentences, each with the sense of the word in it.
    layers: the name of each layer with the vectors of the word in the sentences.
    cosines: the mean cosine of two vectors of each layer, within a sense and between senses.
  """
  senses = np.array([sense for _, sense in chosen])
  names = list(dict.fromkeys(senses))
  columns = math.ceil(math.sqrt(len(layers) + 1))
  rows = math.ceil((len(layers) + 1) / columns)
  listed = len(chosen) <= _LISTED
  figure = figures.figure(3.3 * columns + 4.4 * listed, 3 * rows)
  figure.set_layout_engine("constrained")
  left, right = figure.subfigures(1, 2, width_ratios=(3.3 * columns, 4.4 if listed else 0.1))
  panels = list(left.subplots(rows, columns, squeeze=False).flat)
  for axes, (name, x) in zip(panels, layers.items()):
    _scatter(axes, x, senses, names, numbered=listed)
    axes.set_title(f'"{word}": {name}', fontsize=10, parse_math=False)
  _curves(panels[len(layers)], cosines)
  for axes in panels[len(layers) + 1 :]:
    axes.set_axis_off()
  if listed:
    _list(right, chosen, names)
  return figure


def _scatter(axes, x, senses, names, *, numbered):
  """The rows of x on their first two principal components."""
  axes.set(xticks=[], yticks=[])
  axes.spines[["top", "right", "left", "bottom"]].set_color("0.8")
  centered = x - x.mean(0)
  if np.abs(centered).max() < 1e-6 * np.abs(x).max():
    axes.scatter(0, 0, s=60, color="0.25")
    axes.annotate(
        f"one vector for all {len(x)} sentences", (0, 0), xytext=(0, 12), ha="center",
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    return
  points = centered @ representations.principal_components(centered, 2)
  shares = points.var(0) / centered.var(0).sum()
  axes.set_xlabel(f"first component, {shares[0]:.0%} of the variance", fontsize=8)
  axes.set_ylabel(f"second, {shares[1]:.0%}", fontsize=8)
  axes.margins(0.15)
  for i, name in enumerate(names):
    marker = _MARKERS[i % len(_MARKERS)]
    axes.scatter(*points[senses == name].T, s=24, color=f"C{i}", marker=marker)
  for i, (point, sense) in enumerate(zip(points, senses)):
    if numbered:
      axes.annotate(
          str(i + 1), point, xytext=(5, -3), textcoords="offset points", fontsize=8,
          color=f"C{names.index(sense)}",
      )  # fmt: skip


def _curves(axes, cosines):
  """The mean cosines by layer."""
  styles = {"within a sense": "o-", "between senses": "s--"}
  for (label, style), values in zip(styles.items(), zip(*cosines)):
    axes.plot(range(len(values)), values, style, color="0.25", label=label, markersize=4)
  axes.set_xlabel("layer; 0 is the embedding", fontsize=8)
  axes.set(xticks=range(len(cosines)), ylim=(min(0, *map(min, cosines)) - 0.03, 1.04))
  axes.tick_params(labelsize=8)
  axes.set_title("mean cosine of two vectors", fontsize=10)
  axes.legend(fontsize=8)
  axes.grid(alpha=0.25)
  axes.spines[["top", "right"]].set_visible(False)


def _list(figure, chosen, names):
  """The numbered sentences below the name of their sense."""
  lines = []
  for i, name in enumerate(names):
    lines.append((name[:50], f"C{i}", "bold"))
    of_sense = [(n, text) for n, (text, sense) in enumerate(chosen, 1) if sense == name]
    lines += [
        (f"{n}  {text if len(text) <= 60 else text[:57] + '...'}", f"C{i}", "normal")
        for n, text in of_sense
    ]
    lines.append(("", "C0", "normal"))
  for row, (line, color, weight) in enumerate(lines):
    figure.text(
        0.05, 0.95 - 0.93 * row / len(lines), line, color=color, weight=weight, fontsize=8.5,
        va="center", parse_math=False,
    )  # fmt: skip
