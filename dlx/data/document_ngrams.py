"""The n-grams of documents, of which a training step draws some of each document.

A corpus of N documents is {"ngrams": int32 (M,), "sums": float32 (M,), "starts": int32 (N + 1,)}:
the n-grams of document i are ngrams[starts[i] : starts[i + 1]], and `sums` adds up their weights
from the first n-gram of the document on.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np


def corpus(
    rows: Int[np.ndarray, "M"],
    columns: Int[np.ndarray, "M"],
    weights: Float[np.ndarray, "M"],
    num_documents: int,
) -> dict[str, np.ndarray]:
  """The corpus of documents and the n-grams that they have.

  Args:
    rows, columns: a document and one of its n-grams, sorted by documents.
    weights: of each; those of weight 0 are left out.
    num_documents: N.
  """
  used = weights > 0
  rows, columns, weights = rows[used], columns[used], weights[used]
  starts = np.searchsorted(rows, np.arange(num_documents + 1))
  sums = np.concatenate([[0], np.cumsum(weights, dtype=np.float64)])
  of_document = sums[1:] - sums[starts[rows]]
  return {
      "ngrams": columns.astype(np.int32), "sums": of_document.astype(np.float32),
      "starts": starts.astype(np.int32),
  }  # fmt: skip


def draw(
    rng: jax.Array, corpus: Mapping[str, Array], documents: Int[Array, "B"], count: int
) -> Int[Array, "B S"]:
  """N-grams of documents, drawn with replacement in proportion to their weights; -1 if it has none.

  Args:
    rng: a typed key.
    corpus: see above.
    documents: indices of documents.
    count: S.
  """
  sums, ngrams, starts = (jnp.asarray(corpus[name]) for name in ("sums", "ngrams", "starts"))
  first, end = starts[documents], starts[documents + 1]
  last = jnp.maximum(end - 1, 0)
  drawn = jax.random.uniform(rng, (len(documents), count)) * sums[last][:, None]

  def halve(bounds):  # The first n-gram whose sum is above the number drawn, by binary search.
    low, high = bounds
    middle = (low + high) // 2
    is_right = sums[middle] <= drawn
    return jnp.where(is_right & (low < high), middle + 1, low), jnp.where(is_right, high, middle)

  bounds = (jnp.broadcast_to(x[:, None], drawn.shape) for x in (first, last))
  found, _ = jax.lax.while_loop(lambda x: (x[0] < x[1]).any(), halve, tuple(bounds))
  return jnp.where((first < end)[:, None], ngrams[found], -1)
