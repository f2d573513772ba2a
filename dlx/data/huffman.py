"""Huffman's tree, whose inner nodes are the outputs of a hierarchical softmax."""

import heapq
from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np


class Paths(NamedTuple):
  """The way from the root to each leaf, padded to the longest.

  Attributes:
    nodes: int32 (V, P): inner nodes, 0 to V - 2; the root is V - 2. 0 after the end of a path.
    signs: float32 (V, P): 1 where the path turns left, -1 right, 0 after its end.
  """

  nodes: Int[np.ndarray, "V P"]
  signs: Float[np.ndarray, "V P"]


def paths(counts: Int[np.ndarray, "V"]) -> Paths:
  """The paths that are shortest on average: sum_v counts_v length_v is least.

  Args:
    counts: of V >= 2 leaves.

  Source: Huffman, "A method for the construction of minimum-redundancy codes" (1952).
  """
  size = len(counts)
  heap = [(int(count), i) for i, count in enumerate(counts)]
  heapq.heapify(heap)
  parent, right = np.zeros(2 * size - 1, np.int64), np.zeros(2 * size - 1, bool)
  for node in range(size, 2 * size - 1):
    (low, a), (high, b) = heapq.heappop(heap), heapq.heappop(heap)
    parent[[a, b]], right[b] = node, True
    heapq.heappush(heap, (low + high, node))
  root = 2 * size - 2
  found = []
  for leaf in range(size):
    path, node = [], leaf
    while node != root:
      path.append((parent[node] - size, -1.0 if right[node] else 1.0))
      node = parent[node]
    found.append(path[::-1])
  longest = max(map(len, found))
  nodes, signs = np.zeros((size, longest), np.int32), np.zeros((size, longest), np.float32)
  for leaf, path in enumerate(found):
    nodes[leaf, : len(path)], signs[leaf, : len(path)] = zip(*path)
  return Paths(nodes, signs)


def uses(tree: Paths, shares: Float[np.ndarray, "V"]) -> Float[np.ndarray, "V-1"]:
  """The probability that each inner node is above a leaf that is drawn with these shares."""
  weights = np.abs(tree.signs) * np.asarray(shares)[:, None]
  return np.bincount(tree.nodes.ravel(), weights.ravel(), minlength=len(shares) - 1)
