"""Token attributions and attention maps of a document classifier."""

from typing import NamedTuple

from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
import numpy as np
from rich.text import Text

from dlx.reports import figures

_COLORS = colormaps["RdBu"]
_SUPPORTS, _CONTRADICTS = "supports the prediction", "contradicts it"
_LABELLED = 40  # More tokens leave no room for labels beside a map.


class Explanation(NamedTuple):
  """A prediction with token attributions and attention maps.

  Attributes:
    label, probability: the most probable class.
    tokens: T of them, including [CLS] and [SEP].
    words: the index of each token's word; None for special tokens.
    scores: the attribution of each token to the label, (T,); negative against it.
    attention: weights of each query token (row) on each key token (column), (layers, heads, T, T).
  """

  label: str
  probability: float
  tokens: tuple[str, ...]
  words: tuple[int | None, ...]
  scores: np.ndarray
  attention: np.ndarray


def by_word(explanation: Explanation) -> list[tuple[str, float]]:
  """Each word with the sum of its tokens' scores, in order, without [CLS] and [SEP]."""
  found, last = [], None
  for token, word, score in zip(explanation.tokens, explanation.words, explanation.scores):
    if word is None:
      continue
    piece = token.removeprefix("##")
    if found and word == last:
      found[-1] = (found[-1][0] + piece, found[-1][1] + float(score))
    else:
      found.append((piece, float(score)))
    last = word
  return found


def _shade(score: float, largest: float) -> tuple[float, float, float]:
  """RGB in [0, 1]: blue for the label, red against it, white at 0."""
  return _COLORS(0.5 + 0.3 * score / max(largest, 1e-12))[:3]


def to_text(explanation: Explanation) -> Text:
  """For a terminal: the words on a colored background, then those with the largest scores."""
  words = by_word(explanation)
  largest = max((abs(score) for _, score in words), default=0.0)
  shown = Text(f"{explanation.label} {explanation.probability:.1%}\n")
  for word, score in words:
    red, green, blue = (round(255 * c) for c in _shade(score, largest))
    shown.append(word, style=f"black on rgb({red},{green},{blue})")
    shown.append(" ")
  most = sorted(words, key=lambda pair: -abs(pair[1]))[:8]
  shown.append("\n" + ", ".join(f"{word} {score:+.2f}" for word, score in most))
  shown.append(f"\n{_SUPPORTS} (blue, +), {_CONTRADICTS} (red, -)")
  return shown


def draw_words(explanation: Explanation) -> Figure:
  """The words on a background that is blue for the label and red against it."""
  words = by_word(explanation)
  largest = max((abs(score) for _, score in words), default=0.0)
  lines, width = [[]], 0
  for word, score in words:
    if lines[-1] and width + len(word) + 1 > 80:
      lines.append([])
      width = 0
    lines[-1].append((width, word, score))
    width += len(word) + 1
  figure = figures.figure(9, 0.8 + 0.27 * len(lines))
  axes = figure.add_axes((0.02, 0.02, 0.96, 0.96))
  axes.set_axis_off()
  axes.set_xlim(0, 81)
  axes.set_ylim(-len(lines) - 0.2, 1.8)
  head = f"{explanation.label} {explanation.probability:.1%}"
  axes.text(0, 0.9, head, fontsize=11, parse_math=False)
  kinds = ((1.0, _SUPPORTS), (-1.0, _CONTRADICTS))
  axes.legend(
      handles=[Patch(color=_shade(sign, 1.0), label=label) for sign, label in kinds],
      loc="upper right", ncols=2, frameon=False, fontsize=8, borderaxespad=0,
  )  # fmt: skip
  for y, line in enumerate(lines):
    for x, word, score in line:
      box = (x - 0.3, -y - 1), len(word) + 0.6, 0.9
      axes.add_patch(Rectangle(*box, color=_shade(score, largest)))
      for i, letter in enumerate(word):  # One by one, since the widths depend on the font.
        axes.text(x + i + 0.5, -y - 0.55, letter, ha="center", va="center", fontsize=11,
                  family="monospace", parse_math=False)  # fmt: skip
  return figure


def draw_attention(explanation: Explanation) -> Figure:
  """A map for every head: row t shows the attention of token t to all tokens.

  The colors of a head are relative to its largest weight.
  """
  maps, tokens = explanation.attention, explanation.tokens
  layers, heads = maps.shape[:2]
  labelled = len(tokens) <= _LABELLED
  side = 1.6 + 0.11 * len(tokens) if labelled else 2.2
  figure = figures.figure(side * heads + 0.9, side * layers + 0.4)
  figure.set_layout_engine("constrained")
  grid = figure.subplots(layers, heads, squeeze=False)
  for (layer, head), axes in np.ndenumerate(grid):
    relative = maps[layer, head] / max(maps[layer, head].max(), 1e-12)
    shown = axes.imshow(relative, cmap="Blues", vmin=0, vmax=1)
    axes.set_title(f"block {layer}, head {head}", fontsize=7)
    positions, names = (range(len(tokens)), tokens) if labelled else ([], [])
    axes.set_xticks(positions, names, rotation=90, fontsize=5, parse_math=False)
    rows = names if head == 0 else [""] * len(positions)
    axes.set_yticks(positions, rows, fontsize=5, parse_math=False)
    axes.tick_params(length=0)
  figure.supxlabel("key: the token that is attended to", fontsize=8)
  figure.supylabel("query: the token that attends", fontsize=8)
  bar = figure.colorbar(shown, ax=grid, shrink=0.8)
  bar.set_label("attention weight / the largest of the head", fontsize=8)
  bar.ax.tick_params(labelsize=7)
  return figure
