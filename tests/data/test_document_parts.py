"""Parts of documents: every word is in one, in its place, and they are of equal length."""

import jax
import numpy as np
import pytest

from dlx.data import document_parts
from dlx.data.word_documents import UNKNOWN


@pytest.mark.parametrize("split", [
    document_parts.split, jax.jit(document_parts.split, static_argnums=2),
], ids=["eager", "jit"])  # fmt: skip
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_parts_are_the_document_in_pieces_of_equal_length(split, count):
  lengths = np.arange(14)
  ids = np.where(np.arange(13) < lengths[:, None], np.arange(13) + 1, UNKNOWN)
  ids[9, 4] = UNKNOWN  # An unknown word within a document keeps its place.
  rows = np.stack(split(ids, lengths, count), 1)
  assert rows.shape == (14, count, -(-13 // count))
  for row, parts, n in zip(ids, rows, lengths):
    sizes = [n * (k + 1) // count - n * k // count for k in range(count)]
    assert max(sizes) - min(sizes) <= 1
    found = [part[:size] for part, size in zip(parts, sizes)]
    np.testing.assert_array_equal(np.concatenate(found), row[:n])
    assert all((part[size:] == UNKNOWN).all() for part, size in zip(parts, sizes))
