"""The grid of blocks of queries and keys: which are computed, their masks and biases.

If causal, blocks above the diagonal are skipped, and only those on it are masked. In a window
query t attends to keys t - left to t + right, so the queries i q to (i + 1) q - 1 of row i reach
the keys from i q - left to (i + 1) q - 1 + right, and the keys j k to (j + 1) k - 1 of column j
are reached from the queries j k - right to (j + 1) k - 1 + left. Blocks without any of them are
skipped, and the others, few in a narrow window, all masked.
"""

import dataclasses

import jax
from jax import lax
import jax.numpy as jnp

from dlx.gradients import head_groups


@dataclasses.dataclass(frozen=True)
class Grid:
  """The grid of blocks, with masks and biases padded to whole blocks."""

  mask: jax.Array | None
  bias: jax.Array | None
  left: int | None  # None is no limit. A limit to the left alone does not occur,
  right: int | None  # one to the right alone is causal, 0.
  num_queries: int
  num_keys: int
  q: int  # Queries in a block.
  k: int  # Keys in a block.

  @property
  def rows(self):
    """The number of blocks of queries."""
    return -(-self.num_queries // self.q)

  @property
  def columns(self):
    """The number of blocks of keys."""
    return -(-self.num_keys // self.k)

  def of_row(self, i):
    """(start, full, end): blocks start to full - 1 are not masked, full to end - 1 partially."""
    if self.left is not None:
      first, last = i * self.q - self.left, (i + 1) * self.q - 1 + self.right
      start, end = _between(first, last, self.k, self.columns)
      return start, start, end
    full, end = self.num_keys // self.k, self.columns
    if self.right is not None:  # Unmasked up to the block's first query, partially up to its last.
      full = jnp.minimum(full, (i * self.q + 1) // self.k)
      end = jnp.minimum(end, -(-(i + 1) * self.q // self.k))
    return 0, (0 if self.mask is not None else full), end

  def of_column(self, j):
    """(start, full, end): blocks start to full - 1 are partially masked, to end - 1 not at all."""
    if self.left is not None:
      first, last = j * self.k - self.right, (j + 1) * self.k - 1 + self.left
      start, end = _between(first, last, self.q, self.rows)
      return start, end, end
    start, full = 0, 0
    if self.right is not None:
      start = jnp.minimum(self.rows, j * self.k // self.q)
      full = jnp.minimum(self.rows, -(-((j + 1) * self.k - 1) // self.q))
    if self.mask is not None:
      full = self.rows
    elif self.num_keys % self.k:
      full = jnp.where(j == self.columns - 1, self.rows, full)
    return start, full, self.rows

  def allowed(self, i, j):
    """Where query block i may attend in key block j; broadcasts to (..., q, k)."""
    queries = (i * self.q + jnp.arange(self.q))[:, None]
    keys = (j * self.k + jnp.arange(self.k))[None, :]
    where = keys < self.num_keys
    if self.right is not None:
      where &= keys <= (queries + self.right if self.right else queries)
    if self.left is not None:
      where &= keys >= queries - self.left
    return where if self.mask is None else where & self._part(self.mask, i, j)

  def bias_of(self, i, j):
    """The bias of a block, broadcasts to (..., q, k); None without a bias."""
    return None if self.bias is None else self._part(self.bias, i, j)

  def zeros(self, dtype):
    """Zeros in the shape of the bias, for `add`; None without a bias."""
    return None if self.bias is None else jnp.zeros(self.bias.shape, dtype)

  def add(self, total, block, i, j):
    """total, in the shape of the bias, plus a block's (..., q, k), summed where it repeats."""
    part = self._part(total, i, j)
    part += head_groups.sum_to(block, part.shape)
    starts = [i * self.q if total.shape[-2] > 1 else 0, j * self.k if total.shape[-1] > 1 else 0]
    return lax.dynamic_update_slice(total, part, [*[0] * (total.ndim - 2), *starts])

  def _part(self, x, i, j):
    """What a block has of an array that broadcasts to all blocks."""
    if x.shape[-2] > 1:
      x = lax.dynamic_slice_in_dim(x, i * self.q, self.q, -2)
    if x.shape[-1] > 1:
      x = lax.dynamic_slice_in_dim(x, j * self.k, self.k, -1)
    return x


def _between(first, last, size, count):
  """(start, end): the blocks, of `count` blocks of `size` steps, that have steps first to last."""
  start = jnp.clip(first // size, 0, count)
  return start, jnp.clip(last // size + 1, start, count)
