"""The attention of a decoder to its source as a picture: which words of the source it reads."""

from collections.abc import Callable

import numpy as np

from dlx.reports import figures

_SHOWN, _LONGEST, _COLUMNS = 6, 20, 3


def make_plot(alignments: Callable, translate: Callable, source, target) -> Callable:
  """`plot` of a Task that translates: alignments of some pairs, and translations as text.

  Args:
    alignments: `alignments(variables, batch, rng) -> (B, T, S)` of "source" and "target" ids.
    translate: `translate(variables, examples, apply) -> texts`.
    source, target: the dlx.data.pairs.Tokens of both sides.
  """

  def plot(variables, data, split, apply):
    examples = _some(data.split(split))
    ids = {name: examples[name] for name in ("source", "target")}
    weights = apply(alignments, ids, variables=variables)
    count = len(ids["source"])
    columns = min(_COLUMNS, count)
    figure = figures.figure(4 * columns, 3.8 * -(-count // columns))
    figure.set_layout_engine("constrained")
    grid = figure.subplots(-(-count // columns), columns, squeeze=False).ravel()
    for axes, a, x, y in zip(grid, weights, ids["source"], ids["target"]):
      names = [tokens.pieces(row[row > 0]) for tokens, row in ((source, x), (target, y))]
      shown = a[: len(names[1]), : len(names[0])]
      image = axes.imshow(shown, cmap="Blues", vmin=0, vmax=weights.max())
      axes.set_xticks(range(len(names[0])), names[0], rotation=90, fontsize=7, parse_math=False)
      axes.set_yticks(range(len(names[1])), names[1], fontsize=7, parse_math=False)
      axes.tick_params(length=0)
    for axes in grid[count:]:
      axes.set_axis_off()
    figure.supxlabel("source: the token that is attended to", fontsize=9)
    figure.supylabel("target: the token that is predicted", fontsize=9)
    bar = figure.colorbar(image, ax=list(grid), shrink=0.6)
    bar.set_label("attention, averaged over layers and heads", fontsize=8)
    lines = []
    texts = zip(examples["source_text"], examples["target_text"])
    for (x, y), found in zip(texts, translate(variables, examples, apply)):
      lines += [f"source      {x}", f"reference   {y}", f"greedy      {found}", ""]
    return {f"alignment_{split}": figure, f"examples_{split}": "\n".join(lines)}

  return plot


def _some(examples: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """Pairs from the longer half of those with room in a picture, evenly spaced."""
  fitting = max(1, int(np.searchsorted(examples["lengths"], _LONGEST, "right")))
  chosen = np.unique(np.linspace(fitting // 2, fitting - 1, _SHOWN).astype(int))
  return {name: array[chosen] for name, array in examples.items()}
