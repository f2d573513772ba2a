"""A map of word vectors in the plane."""

from collections.abc import Sequence

from matplotlib.figure import Figure
import numpy as np
import scipy.cluster.vq

from dlx.errors import UserError
from dlx.metrics.word_similarity import Vectors
from dlx.reports import figures

_FREQUENT = slice(100, 3000)  # The most frequent words have no topic.
_GROUPS, _OF_GROUP = 8, 9


def draw(vectors: Vectors, chosen: Sequence[str] = ()) -> Figure:
  """Unit vectors projected on the two directions of their largest variance.

  Args:
    vectors: the more frequent words first.
    chosen: the words to draw. When empty, k-means finds groups of frequent words, and those
      nearest to the mean of each group are drawn.

  Raises:
    UserError: fewer than three of the chosen words are known.
  """
  if chosen:
    at = [i for i in map(vectors.find, chosen) if i is not None]
    if len(at) < 3:
      raise UserError(f"{len(at)} of the {len(chosen)} words to draw are known; expected three")
    at, groups = np.array(at), np.zeros(len(at), int)
  else:
    at, groups = _groups(vectors)
  x = vectors.unit[at]
  center = x.mean(0)
  _, sizes, directions = np.linalg.svd(x - center, full_matrices=False)
  points = (x - center) @ directions[:2].T
  figure = figures.figure(9, 7)
  axes = figure.subplots()
  for group in range(groups.max() + 1):
    axes.scatter(*points[groups == group].T, s=9, color=f"C{group % 10}")
  for i, point, group in zip(at, points, groups):
    axes.annotate(
        vectors.words[i], point, xytext=(3, 2), textcoords="offset points", fontsize=7,
        color=f"C{group % 10}", parse_math=False,
    )  # fmt: skip
  shares = sizes[:2] ** 2 / max((sizes**2).sum(), 1e-30)
  axes.set_xlabel(f"first principal component ({shares[0]:.0%} of the variance)")
  axes.set_ylabel(f"second ({shares[1]:.0%})")
  axes.spines[["top", "right"]].set_visible(False)
  figure.set_layout_engine("tight")
  return figure


def _groups(vectors: Vectors) -> tuple[np.ndarray, np.ndarray]:
  """(indices of words, their groups): those nearest to the means of k-means."""
  frequent = _FREQUENT if len(vectors.words) > 2 * _FREQUENT.start else slice(0, None)
  x = vectors.unit[frequent]
  means, labels = scipy.cluster.vq.kmeans2(x, min(_GROUPS, len(x)), minit="++", seed=0)
  at, groups = [], []
  for group, mean in enumerate(means):
    members = np.flatnonzero(labels == group)
    nearest = members[np.argsort(-(x[members] @ mean), kind="stable")][:_OF_GROUP]
    at += list(nearest + frequent.start)
    groups += [group] * len(nearest)
  return np.array(at), np.array(groups)
