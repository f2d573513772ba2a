"""A linear classifier of the n-grams of a document, with naive Bayes features.

  logits_k = sum_g r_gk (a + b w_gk),   r_gk = log P(g | k) - log P(g | not k)

over the distinct n-grams g of the document that are among the most frequent ones of the
training set. The log ratios r are counted before training; w is learned, and weight decay
pulls the logits back to sum_g a r_gk.

An n-gram is identified by a 32-bit hash: the table is two arrays, and is searched on the
device.

Source: Wang and Manning, "Baselines and bigrams: simple, good sentiment and topic
  classification" (2012), for the log ratios and their use as features.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32
import numpy as np

NONE = np.uint32(2**32 - 1)  # Marks empty entries: no n-gram has this hash.


def hashes(
    ids: Int[Array, "... T"], mask: Bool[Array, "... T"], *, longest: int
) -> UInt32[Array, "... F"]:
  """The hashes of a document's n-grams of 1 to `longest` tokens, at most F = longest * T.

  Args:
    ids: token ids.
    mask: True at valid tokens, which come first.
    longest: largest n, at least 1.

  Returns:
    One hash per occurrence, in unspecified order; NONE in unused entries.
  """
  found, length = [], ids.shape[-1]
  value, valid = jnp.zeros(ids.shape, jnp.uint32), mask
  for n in range(min(longest, length)):
    shift = [(0, 0)] * (ids.ndim - 1) + [(0, n)]
    following = jnp.pad(ids, shift)[..., n:].astype(jnp.uint32)
    valid = valid & jnp.pad(mask, shift)[..., n:]
    value = _mix(value + following + 1)
    found.append(jnp.where(valid, jnp.minimum(value, NONE - 1), NONE))
  return jnp.concatenate(found, -1)


def _mix(x: Array) -> Array:
  """A bijection of uint32 that mixes all bits: the finalizer of MurmurHash3."""
  x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
  x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
  return x ^ (x >> 16)


def count(
    ids: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    num_classes: int,
    *,
    longest: int,
    table_size: int,
) -> dict[str, np.ndarray]:
  """The most frequent n-grams of the training documents, and their log ratios.

  P(g | k) = (1 + c_gk) / sum_h (1 + c_hk), with c_gk the number of documents of class k in
  which g occurs.

  Args:
    ids: `(N, T)`, padded.
    lengths: `(N,)`.
    labels: `(N,)`, classes 0 to K - 1.
    num_classes: K.
    longest: as for `hashes`.
    table_size: number of n-grams that are kept, those that occur in most documents.

  Returns:
    "hashes" (table_size,), ascending and padded with NONE, and "log_ratios" (table_size, K).
  """
  hashes_of = jax.jit(functools.partial(hashes, longest=longest))
  by_class = [[] for _ in range(num_classes)]
  for start in range(0, len(ids), 256):
    some = slice(start, start + 256)
    mask = np.arange(ids.shape[1]) < lengths[some, None]
    for document, label in zip(np.asarray(hashes_of(ids[some], mask)), labels[some]):
      by_class[label].append(np.unique(document[document != NONE]))
  found, counts = np.unique(np.concatenate(sum(by_class, [])), return_counts=True)
  kept = np.sort(found[np.lexsort((found, -counts))[:table_size]])
  counts = np.zeros((len(kept), num_classes))
  for k, documents in enumerate(by_class):
    seen, times = np.unique(np.concatenate(documents or [kept[:0]]), return_counts=True)
    _, here, there = np.intersect1d(kept, seen, assume_unique=True, return_indices=True)
    counts[here, k] = times[there]
  ratios = _log_p(counts) - _log_p(counts.sum(1, keepdims=True) - counts)
  rest = table_size - len(kept)
  return {
      "hashes": np.pad(kept, (0, rest), constant_values=NONE),
      "log_ratios": np.float32(np.pad(ratios, ((0, rest), (0, 0)))),
  }


def _log_p(counts: Float[np.ndarray, "G K"]) -> Float[np.ndarray, "G K"]:
  return np.log1p(counts) - np.log((1 + counts).sum(0))


class NGrams(nn.Module):
  """The classifier; its collection "ngrams" holds the result of `count`.

  Attributes:
    num_classes: K.
    longest: largest n, as for `count`.
    table_size: number of n-grams, as for `count`.
    start: a, the weight of each log ratio before training.
    step: b, a factor on w, and so on its learning rate under Adam.
  """

  num_classes: int
  longest: int = 3
  table_size: int = 2**18
  start: float = 0.04
  step: float = 2.0

  @nn.compact
  def __call__(
      self, ids: Int[Array, "... T"], mask: Bool[Array, "... T"] | None = None, *, train=False
  ) -> Float[Array, "... K"]:
    """Logits `(..., K)` of ids `(..., T)`; `train` changes nothing."""
    del train
    shape = (self.table_size, self.num_classes)
    known = self.variable("ngrams", "hashes", jnp.full, shape[:1], NONE).value
    ratios = self.variable("ngrams", "log_ratios", jnp.zeros, shape).value
    weights = self.param("weights", jax.nn.initializers.zeros, shape)
    mask = jnp.ones(ids.shape, bool) if mask is None else mask
    found = jnp.sort(hashes(ids, mask, longest=self.longest), -1)
    first = jnp.roll(found, 1, -1).at[..., 0].set(NONE) != found
    rows = jnp.searchsorted(known, found)
    hit = known.at[rows].get(mode="fill", fill_value=NONE) == found
    # Unknown, repeated and unused hashes read a row beyond the table, which gives 0.
    rows = jnp.where(hit & first & (found != NONE), rows, self.table_size)
    r, w = (table.at[rows].get(mode="fill", fill_value=0) for table in (ratios, weights))
    return (r * (self.start + self.step * w)).sum(-2)
