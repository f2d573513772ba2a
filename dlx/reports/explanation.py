"""What a classifier of texts rests on, as pictures and in a terminal."""

import pathlib
from typing import NamedTuple

import matplotlib
from matplotlib import colormaps
import numpy as np
from rich.text import Text

from dlx.reports import figures

_COLOURS = colormaps["RdBu"]
_LABELLED = 40  # More tokens than that have no room for their names beside a map.


class Explanation(NamedTuple):
  """A text with what it is taken for, and why.

  Attributes:
    label, probability: the likeliest class.
    tokens: T of them, the two around the text included.
    words: the word that each token is a part of, counted from 0; None for a token that is
      part of none.
    scores: how much each token speaks for the label, (T,); below 0, against it.
    attention: from each token (row) to each other (column), (layers, heads, T, T).
  """

  label: str
  probability: float
  tokens: tuple[str, ...]
  words: tuple[int | None, ...]
  scores: np.ndarray
  attention: np.ndarray


def by_word(explanation: Explanation) -> list[tuple[str, float]]:
  """Each word with the sum of its tokens' scores, in order; [CLS] and [SEP] are left out."""
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
  """Blue for the label, red against it, white at 0; RGB in 0 to 1."""
  return _COLOURS(0.5 + 0.3 * score / max(largest, 1e-12))[:3]


def in_terminal(explanation: Explanation) -> Text:
  """The words on coloured ground, then those that matter most with their scores."""
  words = by_word(explanation)
  largest = max((abs(score) for _, score in words), default=0.0)
  shown = Text(f"{explanation.label} {explanation.probability:.1%}\n")
  for word, score in words:
    red, green, blue = (round(255 * c) for c in _shade(score, largest))
    shown.append(word, style=f"black on rgb({red},{green},{blue})")
    shown.append(" ")
  most = sorted(words, key=lambda pair: -abs(pair[1]))[:8]
  shown.append("\n" + ", ".join(f"{word} {score:+.2f}" for word, score in most))
  return shown


def draw_words(path: pathlib.Path, explanation: Explanation) -> None:
  """Draws the words on ground that is blue for the label and red against it."""
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
  axes.text(0, 0.9, f"{explanation.label} {explanation.probability:.1%}", fontsize=11)
  for y, line in enumerate(lines):
    for x, word, score in line:
      box = (x - 0.3, -y - 1), len(word) + 0.6, 0.9
      axes.add_patch(matplotlib.patches.Rectangle(*box, color=_shade(score, largest)))
      for i, letter in enumerate(word):  # One by one: every font has its own widths.
        axes.text(x + i + 0.5, -y - 0.55, letter, ha="center", va="center", fontsize=11,
                  family="monospace")  # fmt: skip
  figures.save(figure, path)


def draw_attention(path: pathlib.Path, explanation: Explanation) -> None:
  """Draws a map for every head: row t is what token t attends to, dark is much."""
  maps, tokens = explanation.attention, explanation.tokens
  layers, heads = maps.shape[:2]
  labelled = len(tokens) <= _LABELLED
  side = 1.6 + 0.11 * len(tokens) if labelled else 2.2
  figure = figures.figure(side * heads, side * layers)
  grid = figure.subplots(layers, heads, squeeze=False)
  for (layer, head), axes in np.ndenumerate(grid):
    axes.imshow(maps[layer, head], cmap="Blues", vmin=0, vmax=maps[layer, head].max())
    axes.set_title(f"block {layer}, head {head}", fontsize=7)
    places, names = (range(len(tokens)), tokens) if labelled else ([], [])
    axes.set_xticks(places, names, rotation=90, fontsize=5)
    axes.set_yticks(places, names if head == 0 else [""] * len(places), fontsize=5)
    axes.tick_params(length=0)
  figure.tight_layout()
  figures.save(figure, path)
