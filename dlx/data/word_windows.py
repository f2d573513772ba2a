"""Words, their neighbours and noise words, drawn on the device."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from dlx.data.word_counts import END


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
  return Alias(_scaled(share), others.astype(np.int32))


def choose(table: Alias, bits: Int[Array, "... 2K"]) -> Int[Array, "... K"]:
  """Independent values of the table's distribution.

  Args:
    table: of `alias_table`.
    bits: random uint32, two for each value.
  """
  index, choice = jnp.split(bits, 2, -1)
  index = (index % len(table.others)).astype(jnp.int32)
  is_other = choice > jnp.asarray(table.thresholds)[index]
  return jnp.where(is_other, jnp.asarray(table.others)[index], index)


class Windows(NamedTuple):
  """Words of B sequences, T each, with their neighbours and noise words.

  Attributes:
    words: (B, T); 0 for END.
    pairs: bool (B, T, T): whether the second word is a neighbour of the first one.
    noise: (B, K).
  """

  words: Int[Array, "B T"]
  pairs: Bool[Array, "B T T"]
  noise: Int[Array, "B K"]


def draw(
    rng: jax.Array,
    ids: Int[Array, "B T"],
    keep: Float[np.ndarray, "V"],
    window: int,
    table: Alias | None = None,
    noise_words: int = 0,
) -> Windows:
  """Leaves out words at random, and finds the neighbours of the others.

  Two words are neighbours if they stand in one document, with fewer than r words between them
  that are not left out; r is drawn for the first word from 1 to `window`.

  Args:
    rng: a typed key.
    ids: sequences of a text, END between documents.
    keep: the probability of each word; see `word_counts.keep_probabilities`.
    window: below 2^16.
    table: of the noise words.
    noise_words: K.
  """
  length = ids.shape[1]
  # All random numbers in one call: on CPU a call costs more than its numbers.
  bits = jax.random.bits(rng, (len(ids), 2 * (length + noise_words)), jnp.uint32)
  words = jnp.maximum(ids, 0)
  thresholds = jnp.asarray(_scaled(keep))
  kept = (ids != END) & (bits[:, :length] <= thresholds[words])
  radius = 1 + ((bits[:, length : 2 * length] >> 16) * window >> 16).astype(jnp.int32)
  # The end of a document is farther than any window.
  position = jnp.cumsum(kept + (ids == END) * (window + 1), -1)
  # Computed once, and not again for each pair by a fused loop.
  words, kept, radius, position = jax.lax.optimization_barrier((words, kept, radius, position))
  distance = jnp.abs(position[:, :, None] - position[:, None, :])
  near = (distance > 0) & (distance <= radius[..., None])
  pairs = near & kept[:, :, None] & kept[:, None, :]
  if table is None:
    return Windows(words, pairs, jnp.zeros((len(ids), 0), jnp.int32))
  return Windows(words, pairs, choose(table, bits[:, 2 * length :]))


def _scaled(probabilities: np.ndarray) -> np.ndarray:
  """Of 2^32, as uint32."""
  return (np.asarray(probabilities, np.float64) * (2**32 - 1)).astype(np.uint32)
