"""How often words occur near each other, counted on the host."""

from typing import NamedTuple

from jaxtyping import Float, Int
import numpy as np
import scipy.sparse

from dlx.data.word_counts import END

_CHUNK = 2_000_000  # Words counted at a time.


class Entries(NamedTuple):
  """The nonzero entries of the symmetric matrix of co-occurrences.

  Attributes:
    words, contexts: int32, the row and the column.
    counts: float32.
  """

  words: Int[np.ndarray, "N"]
  contexts: Int[np.ndarray, "N"]
  counts: Float[np.ndarray, "N"]


def count(ids: Int[np.ndarray, "T"], vocab_size: int, window: int) -> Entries:
  """X_ij = sum over occurrences of i and j in one document, d <= window words apart, of 1 / d.

  Args:
    ids: a text, with END between documents.
    vocab_size: V.
    window: the largest distance.

  Source: Pennington, Socher, Manning, "GloVe: global vectors for word representation" (2014).
  """
  total = scipy.sparse.csr_array((vocab_size, vocab_size), dtype=np.float64)
  documents = np.cumsum(ids == END)
  for start in range(0, len(ids), _CHUNK):
    for distance in range(1, window + 1):
      left = np.arange(start, min(start + _CHUNK, len(ids) - distance))
      right = left + distance
      near = (documents[left] == documents[right]) & (ids[left] != END)
      i, j = ids[left[near]], ids[right[near]]
      total += scipy.sparse.coo_array(
          (np.full(len(i), 1 / distance), (i, j)), shape=total.shape
      ).tocsr()
  found = (total + total.T).tocoo()
  return Entries(
      found.row.astype(np.int32), found.col.astype(np.int32), found.data.astype(np.float32)
  )
