"""Huffman's tree: known codes, a prefix code of least length, and its probabilities."""

import numpy as np

from dlx.data import huffman

COUNTS = np.array([45, 13, 12, 16, 9, 5])  # Cormen et al., "Introduction to algorithms", 16.3.


def test_the_lengths_are_those_of_the_textbook():
  tree = huffman.paths(COUNTS)
  lengths = np.abs(tree.signs).sum(1)
  assert lengths.tolist() == [1, 3, 3, 3, 4, 4]
  assert (lengths * COUNTS).sum() == 224


def test_every_leaf_has_its_own_path_from_the_root():
  tree = huffman.paths(COUNTS)
  codes = {tuple(s for s in row if s) for row in tree.signs}
  assert len(codes) == len(COUNTS) and sum(2.0 ** -len(code) for code in codes) == 1
  assert (tree.nodes[:, 0] == len(COUNTS) - 2).all()
  assert not tree.nodes[tree.signs == 0].any()


def test_the_softmax_over_leaves_sums_to_one():
  tree, rng = huffman.paths(np.arange(1, 12)), np.random.default_rng(0)
  scores = rng.normal(size=10)[tree.nodes]
  p = np.where(tree.signs == 0, 1, 1 / (1 + np.exp(-tree.signs * scores))).prod(1)
  np.testing.assert_allclose(p.sum(), 1, rtol=1e-12)


def test_uses_of_inner_nodes_are_the_shares_below_them():
  tree = huffman.paths(COUNTS)
  uses = huffman.uses(tree, COUNTS / 100)
  np.testing.assert_allclose(sorted(uses), [0.14, 0.25, 0.30, 0.55, 1.0])
