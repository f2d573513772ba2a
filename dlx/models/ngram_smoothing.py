"""Probabilities of n-grams from their counts.

Every method gives each n-gram h w that was seen a probability q(w | h), and each context h a
weight b(h) of the shorter context h', which is h without its first token:

  kneser_ney   p(w | h) = q(w | h) + b(h) p(w | h')
  add_k        p(w | h) = q(w | h) + b(h) / V
  back_off     p(w | h) = q(w | h) if h w was seen, else b(h) p(w | h')

with q = 0 for unseen n-grams and b = 1 for unseen contexts. dlx.models.ngram_language_model looks
them up.
"""

from collections.abc import Sequence

from jaxtyping import Float, Int
import numpy as np

from dlx.data.ngram_counts import Level, continuations

METHODS = ("kneser_ney", "add_k", "back_off")


def tables(
    levels: Sequence[Level], method: str, *, k: float | None = None
) -> list[dict[str, np.ndarray]]:
  """The arrays of a language model, whose order is the number of levels.

  Args:
    levels: of dlx.data.ngram_counts.count.
    method: one of METHODS.
    k: of add_k, above 0.

  Returns:
    For each order a dict, float64 and int32: "probabilities" (N,), q of each n-gram; "lower"
    (M,), b of each context; "words" (N,), the last token of each n-gram; "starts" (M + 1,), the
    first n-gram of each context. Unigrams have only "probabilities", p(w) of all V tokens.

  Raises:
    ValueError: the method is unknown.
  """
  if method not in METHODS:
    raise ValueError(f"method: expected one of {', '.join(METHODS)}, got {method!r}")
  found, sizes = [], [1, *(len(level.words) for level in levels)]
  for i, (level, num_contexts) in enumerate(zip(levels, sizes)):
    if method == "kneser_ney":
      longer = levels[i + 1] if i + 1 < len(levels) else None
      q, b = _kneser_ney(level, longer, num_contexts)
    elif method == "add_k":
      q, b = _add_k(level, num_contexts, k * sizes[1])
    else:
      shorter = found[-1]["probabilities"] if found else None
      q, b = _back_off(level, shorter, num_contexts, vocab_size=sizes[1])
    if not found:
      found.append({"probabilities": q + b[0] / len(q)})
      continue
    starts = np.searchsorted(level.contexts, np.arange(num_contexts + 1))
    found.append({
        "probabilities": q, "lower": b,
        "words": level.words.astype(np.int32), "starts": starts.astype(np.int32),
    })  # fmt: skip
  return found


def discounts(counts: Int[np.ndarray, "N"]) -> Float[np.ndarray, "4"]:
  """(0, D_1, D_2, D_3+), subtracted from the counts 0, 1, 2, and 3 or more.

    D_i = i - (i + 1) Y n_{i+1} / n_i,  Y = n_1 / (n_1 + 2 n_2)

  with n_i the number of n-grams of count i. D_i = i / 2 where n_1, n_i or n_{i+1} is 0, or the
  equation gives 0 or less: low orders of characters have too few n-grams.

  Source: Chen and Goodman, "An empirical study of smoothing techniques for language modeling"
    (1999), equation 26.
  """
  n = np.bincount(np.minimum(counts, 5), minlength=5).astype(float)
  found = [0.0]
  for i in (1, 2, 3):
    known = n[1] and n[i] and n[i + 1]
    estimate = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[i + 1] / n[i] if known else 0.0
    found.append(estimate if estimate > 0 else i / 2)
  return np.array(found)


def _kneser_ney(
    level: Level, longer: Level | None, num_contexts: int
) -> tuple[np.ndarray, np.ndarray]:
  """Interpolated modified Kneser-Ney: q = (c - D(c)) / c(h), b = sum_w D(c(h w)) / c(h).

  The counts of the largest order are those of the text; below it, c(g) is the number of
  different tokens before g. Unigrams are interpolated with 1 / V.

  Source: Chen and Goodman (1999), section 4.1.6.
  """
  counts = level.counts if longer is None else continuations(level, longer)
  return _discounted(level, counts, discounts(counts)[np.minimum(counts, 3)], num_contexts)


def _back_off(
    level: Level, shorter: np.ndarray | None, num_contexts: int, vocab_size: int
) -> tuple[np.ndarray, np.ndarray]:
  """Absolute discounting with Katz's back-off:

    q = (c - D) / c(h),  D = n_1 / (n_1 + 2 n_2),  b = (1 - sum_w q(w | h)) / (1 - sum_w p(w | h'))

  with sums over the tokens that were seen after h. D is 1 / 2 where n_1 or n_2 is 0. If all V
  tokens were seen, b = 0 and q = c / c(h). Unigrams are interpolated with 1 / V.

  Source: Katz, "Estimation of probabilities from sparse data" (1987) for back-off; Ney, Essen and
    Kneser, "On structuring probabilistic dependences in stochastic language modelling" (1994)
    for the discount.
  """
  removed = discounts(level.counts)[np.minimum(level.counts, 1)]
  if shorter is None:
    return _discounted(level, level.counts, removed, num_contexts)
  seen = np.bincount(level.contexts, minlength=num_contexts)
  complete = seen == vocab_size
  removed = np.where(complete[level.contexts], 0, removed)
  q, b = _discounted(level, level.counts, removed, num_contexts)
  # A suffix of an n-gram that was seen was seen too: its p is its q.
  p = np.bincount(level.contexts, weights=shorter[level.suffixes], minlength=num_contexts)
  return q, np.where(complete, 0, b / np.where(complete, 1, 1 - p))


def _add_k(
    level: Level, num_contexts: int, total: float
) -> tuple[np.ndarray, np.ndarray]:
  """q = c / (c(h) + k V), b = k V / (c(h) + k V), given k V."""
  counts = np.bincount(level.contexts, weights=level.counts, minlength=num_contexts) + total
  return level.counts / counts[level.contexts], total / counts


def _discounted(
    level: Level, counts: np.ndarray, removed: np.ndarray, num_contexts: int
) -> tuple[np.ndarray, np.ndarray]:
  """(counts - removed) / c(h), and the sums of what was removed / c(h); 1 where c(h) is 0."""
  sums = np.bincount(level.contexts, weights=counts, minlength=num_contexts)
  rest = np.bincount(level.contexts, weights=removed, minlength=num_contexts)
  total = np.maximum(sums, 1)
  return (counts - removed) / total[level.contexts], np.where(sums > 0, rest / total, 1.0)
