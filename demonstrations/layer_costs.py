"""Four kinds of layers on n positions: operations, sequential steps and longest paths, counted.

  layer                         operations     steps    longest path
  self-attention                2 n^2 d        2        2
  recurrent                     2 n d^2        n        n
  convolution, window k         k n d^2        1        log_k n       (layer i dilated by k^(i-1))
  restricted self-attention     2 r n d        2        2 (n - 1) / w     (r = 2 w + 1 keys)

These are the formulas of the source with their constants: attention multiplies for scores and for
outputs, a recurrent step by W and by U. The counts come from the traced functions of dlx, loops
step by step (dlx.reports.costs): operations are the multiplications of matrix products and
convolutions; steps are such products that wait for one another; the longest path is the steps of
a layer times the number of layers after which the last output depends on the first input.

Restricted self-attention is `local_window_size=w`. "blocked" computes the blocks of scores that
the window touches, here of 4 x 4: the count lies above the formula by the corners of blocks.
"autodiff" computes all n^2 scores and masks them.

Source: Vaswani et al., "Attention is all you need" (2017), table 1.
"""

from collections.abc import Callable
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from matplotlib.figure import Figure
import numpy as np

from dlx.layers import attention, blocked_attention, conv, rnn
from dlx.reports import figures
from dlx.reports.costs import cost

BLOCK = 4


class Row(NamedTuple):
  """Counts, or formulas, of a kind of layer."""

  operations: int
  steps: int
  path: int


class Kind(NamedTuple):
  """A kind of layer: `layer(x, k, depth)` of x (n, d), and `formula(n, d, k) -> Row`.

  `counted(x, k)` is the form whose operations are counted, where that is another.
  """

  layer: Callable
  formula: Callable
  counted: Callable | None = None


def _attention(x, k, depth, **options):
  return attention.dot_product_attention(*[x[None]] * 3, implementation="autodiff", **options)[0]


def _restricted(x, k, depth):
  return _attention(x, k, depth, local_window_size=k // 2)


def _blocks(x, k):
  options = ((BLOCK, BLOCK), False, k // 2, None)
  return blocked_attention.attend(*[x[None]] * 3, None, mask=None, scale=None, options=options)[0]


def _recurrent(x, k, depth):
  unit = jnp.eye(x.shape[1])
  params = {"input": unit, "hidden": unit, "bias": jnp.zeros(len(unit))}
  return rnn.scan(params, x, implementation="autodiff")[1]


def _convolution(x, k, depth):
  d, dilation = x.shape[1], k ** (depth - 1)
  params = {"kernel": jnp.ones((1, k, d, d)) / (k * d)}
  padding = ((0, 0), ((k - 1) * dilation, 0))  # Causal: an output reads k inputs up to its own.
  options = {"dilation": (1, dilation), "implementation": "autodiff"}
  return conv.apply(params, x[None], padding=padding, **options)[0]


KINDS = {
    "self-attention": Kind(_attention, lambda n, d, k: Row(2 * n * n * d, 2, 2)),
    "recurrent": Kind(_recurrent, lambda n, d, k: Row(2 * n * d * d, n, n)),
    "convolution": Kind(
        _convolution, lambda n, d, k: Row(k * n * d * d, 1, math.ceil(round(math.log(n, k), 9)))
    ),
    "restricted self-attention": Kind(
        _restricted, lambda n, d, k: Row(2 * k * n * d, 2, 2 * -(-(n - 1) // (k // 2))), _blocks
    ),
}


def count(name: str, *, n: int, d: int, k: int) -> Row:
  """The counts of a kind of layer.

  Args:
    name: of KINDS.
    n: positions; for the blocks of restricted self-attention a multiple of 4.
    d: features of inputs and outputs.
    k: the window of the convolution, and r of restricted self-attention; odd.
  """
  kind, x = KINDS[name], jax.ShapeDtypeStruct((n, d), jnp.float32)
  steps = cost(lambda x: kind.layer(x, k, 1), x).chain
  counted = kind.counted or (lambda x, k: kind.layer(x, k, 1))
  operations = cost(lambda x: counted(x, k), x).multiplications
  return Row(operations, steps, steps * layers_until_connected(kind.layer, n, d, k))


def layers_until_connected(layer: Callable, n: int, d: int, k: int) -> int:
  """The number of layers after which the last output depends on the first input.

  The set of positions that depend on it grows layer by layer: those where the derivative along a
  random direction of the set's features is not zero. It is taken at 0, where tanh' = 1 and all
  attention weights are equal, so that none is rounded to 0.
  """
  direction = np.random.default_rng(0).normal(size=(n, d))
  x, reached = jnp.zeros((n, d)), np.arange(n) == 0
  for depth in range(1, n + 1):
    tangent = jnp.asarray(direction * reached[:, None], x.dtype)
    _, change = jax.jvp(lambda x, depth=depth: layer(x, k, depth), (x,), (tangent,))
    reached = (np.asarray(change) != 0).any(-1)
    if reached[-1]:
      return depth
  raise ValueError(f"{n} layers do not connect the {n} positions")


def draw(d: int = 16, k: int = 9) -> tuple[Figure, list[str]]:
  """Counts (points) and formulas (lines) over n, and the table for the largest n."""
  figure = figures.figure(12, 4)
  figure.set_layout_engine("constrained")
  panels, sizes = figure.subplots(1, 3), [16, 32, 64, 128]
  lines = [f"n = {sizes[-1]}, d = {d}, k = r = {k}; each pair: counted, by the formula",
           f"{'':26}{'operations':>20}{'steps':>12}{'longest path':>14}"]  # fmt: skip
  for i, (name, kind) in enumerate(KINDS.items()):
    rows = [count(name, n=n, d=d, k=k) for n in sizes]
    formulas = [kind.formula(n, d, k) for n in sizes]
    for axes, counted, formula in zip(panels, zip(*rows), zip(*formulas)):
      axes.plot(sizes, formula, color=f"C{i}", linewidth=5 - i, alpha=0.4)
      axes.plot(sizes, counted, "o", color=f"C{i}", label=name)
    cells = (f"{a:,} {b:,}" for a, b in zip(rows[-1], formulas[-1]))
    lines.append("{:26}{:>20}{:>12}{:>14}".format(name, *cells))
  for axes, title in zip(panels, Row._fields):
    axes.set(xscale="log", yscale="log", xlabel="positions n", title=f"{title} (lines: formula)")
    axes.set_xticks(sizes, sizes)
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
  panels[0].legend(fontsize=8)
  return figure, lines
