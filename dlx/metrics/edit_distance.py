"""The edit distance of sequences, and error rates of predictions with one or more references."""

from collections.abc import Sequence

import numpy as np


def distance(a: Sequence, b: Sequence) -> int:
  """The least number of insertions, deletions and substitutions that turn a into b.

    d_ij = min(d_{i-1,j} + 1, d_{i,j-1} + 1, d_{i-1,j-1} + [a_i != b_j]),   d_i0 = i, d_0j = j

  Source: Levenshtein, "Binary codes capable of correcting deletions, insertions, and reversals"
    (1966); Wagner and Fischer, "The string-to-string correction problem" (1974).
  """
  row = list(range(len(b) + 1))
  for i, x in enumerate(a, 1):
    diagonal, row[0] = row[0], i
    for j, y in enumerate(b, 1):
      diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (x != y))
  return row[-1]


def error_rate(
    predictions: Sequence[Sequence], references: Sequence[Sequence[Sequence]]
) -> float:
  """sum_i d(prediction_i, r_i) / sum_i |r_i|, with r_i the nearest reference of example i.

  Of words this is the word error rate, of phonemes the phoneme error rate. Of equally near
  references the first one counts; the rate may exceed 1, and is nan if all references are empty.

  Args:
    predictions: N sequences.
    references: N lists, each of one or more sequences.
  """
  errors = total = 0
  for found, known in zip(predictions, references, strict=True):
    nearest = min((distance(found, reference), i) for i, reference in enumerate(known))
    errors += nearest[0]
    total += len(known[nearest[1]])
  return errors / total if total else float(np.nan)


def exact_match(predictions: Sequence, references: Sequence[Sequence]) -> float:
  """The fraction of predictions that equal one of their references."""
  pairs = list(zip(predictions, references, strict=True))
  return sum(found in known for found, known in pairs) / len(pairs)
