"""The parts of documents: each has as many words as the others, give or take one."""

import jax.numpy as jnp
from jaxtyping import Array, Int

from dlx.data.word_documents import UNKNOWN


def split(
    ids: Int[Array, "B T"], lengths: Int[Array, "B"], count: int
) -> list[Int[Array, "B W"]]:
  """Rows of the words of each part: of n words, part k = 0 ... P - 1 has [k n / P, (k + 1) n / P).

  Args:
    ids: rows of dlx.data.word_documents.
    lengths: n.
    count: P.

  Returns:
    P arrays with W = ceil(T / P) columns, padded with UNKNOWN.
  """
  ids, lengths = jnp.asarray(ids), jnp.asarray(lengths)
  width, found = -(-ids.shape[1] // count), []
  for k in range(count):
    start, end = lengths * k // count, lengths * (k + 1) // count
    at = start[:, None] + jnp.arange(width)
    words = jnp.take_along_axis(ids, jnp.minimum(at, ids.shape[1] - 1), 1)
    found.append(jnp.where(at < end[:, None], words, UNKNOWN))
  return found
