"""Words, their neighbours and noise words, drawn on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from dlx.data.word_counts import END


def size_after_subsampling(length: int, counts: np.ndarray, keep: np.ndarray) -> int:
  """The words that `subsample` leaves of `length`: the mean and two standard deviations."""
  rate = float((counts * keep).sum() / counts.sum())
  return min(length, int(np.ceil(length * rate + 2 * np.sqrt(length * rate * (1 - rate)))))


def subsample(
    rng: jax.Array, ids: Int[Array, "B T"], keep: Float[Array, "V"], size: int
) -> tuple[Int[Array, "B L"], Int[Array, "B L"]]:
  """Leaves out words at random, which makes those around them neighbours.

  Args:
    rng: a typed key.
    ids: sequences of a text, END between documents.
    keep: the probability of each word; see `word_counts.keep_probabilities`.
    size: L; words after the L-th that is kept are left out.

  Returns:
    (words, documents): the ids, and the number of the document in which each stands. Positions
    after the last word have the id 0 and the document -1.
  """
  kept = (ids != END) & (jax.random.uniform(rng, ids.shape) < keep[jnp.maximum(ids, 0)])
  documents = jnp.cumsum(ids == END, -1)
  before = jnp.cumsum(kept, -1)
  # The position of the l-th word: the first with l + 1 words up to it.
  at = jax.vmap(lambda counts: jnp.searchsorted(counts, 1 + jnp.arange(size)))(before)
  is_word = jnp.arange(size) < before[:, -1:]
  take = lambda x: jnp.take_along_axis(x, jnp.minimum(at, ids.shape[1] - 1), 1)  # noqa: E731
  return jnp.where(is_word, take(ids), 0), jnp.where(is_word, take(documents), -1)


def pairs(
    rng: jax.Array, documents: Int[Array, "B L"], window: int
) -> Bool[Array, "B L L"]:
  """Whether the second word is a neighbour of the first one.

  It is when they stand in one document, at most r words apart, where r is drawn for the first
  word from 1 to `window`.
  """
  length = documents.shape[-1]
  radius = jax.random.randint(rng, documents.shape, 1, window + 1)
  distance = np.abs(np.arange(length)[:, None] - np.arange(length))
  near = (distance > 0) & (distance <= radius[..., None])
  return near & (documents[..., None] == documents[..., None, :]) & (documents >= 0)[..., None]


class Alias(NamedTuple):
  """A distribution of which a draw costs the same for any number of values.

  Attributes:
    thresholds: uint32 (V,): the chance, out of 2^32, that a draw of the row is the row itself.
    others: int32 (V,): what it is otherwise.
  """

  thresholds: Int[np.ndarray, "V"]
  others: Int[np.ndarray, "V"]


def alias_table(weights: Float[np.ndarray, "V"]) -> Alias:
  """The table of values 0 to V - 1 with these relative probabilities.

  Source: Vose, "A linear algorithm for generating random numbers with a given distribution"
    (1991).
  """
  share = np.asarray(weights, np.float64) / np.sum(weights) * len(weights)
  others = np.arange(len(share))
  small = [i for i in others if share[i] < 1]
  large = [i for i in others if share[i] >= 1]
  while small and large:
    low, high = small.pop(), large[-1]
    others[low] = high
    share[high] -= 1 - share[low]
    if share[high] < 1:
      small.append(large.pop())
  share[[*small, *large]] = 1  # What is left differs from 1 by rounding.
  return Alias((share * (2**32 - 1)).astype(np.uint32), others.astype(np.int32))


def noise(rng: jax.Array, table: Alias, shape: tuple[int, ...]) -> Int[Array, "..."]:
  """Draws ids from a distribution."""
  index_rng, choice_rng = jax.random.split(rng)
  index = jax.random.randint(index_rng, shape, 0, len(table.others))
  is_other = jax.random.bits(choice_rng, shape, jnp.uint32) > jnp.asarray(table.thresholds)[index]
  return jnp.where(is_other, jnp.asarray(table.others)[index], index)
