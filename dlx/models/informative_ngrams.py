"""The n-grams of documents, weighted by what they say of the documents' classes.

  weight of f = min(1, (rho_f - 1) / (m - 1)),   log rho_f = max_c |r_cf|

with r of dlx.models.naive_bayes_linear: from m on, an n-gram that is rho_f times as likely in one
class as in the others has the weight 1; one that says nothing of them has the weight 0.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.data import document_ngrams
from dlx.experiment import Arrays
from dlx.models import naive_bayes_linear


class Ngrams(NamedTuple):
  """The result of `select`.

  Attributes:
    tables: for `naive_bayes_linear.features`; they number the F n-grams.
    counts: in how many documents each occurs, (F,).
    weights: of each in a new document, (F,).
    corpus: dlx.data.document_ngrams.corpus of the documents. The weights of a document's n-grams
      are those of the other documents: its own label would make its rare n-grams informative, and
      a new document has none.
  """

  tables: list[dict[str, Any]]
  counts: Int[np.ndarray, "F"]
  weights: Float[np.ndarray, "F"]
  corpus: dict[str, np.ndarray]


def select(
    documents: Arrays, *, order: int, vocab_size: int, num_classes: int, min_count: int,
    smoothing: float, max_ratio: float,
) -> Ngrams:  # fmt: skip
  """The n-grams that occur in documents, with their weights.

  Args:
    documents: "ids", "lengths" and "labels" of dlx.data.word_documents, sorted by length; the
      label -1 stands for none.
    order: the largest n.
    vocab_size: V.
    num_classes: K.
    min_count: rarer n-grams are left out.
    smoothing: of the counts of r.
    max_ratio: m, above 1.
  """
  tables = naive_bayes_linear.tables(documents, order, vocab_size, min_count)
  matrix = naive_bayes_linear.document_term_matrix(tables, documents)
  arguments = matrix, documents["labels"], num_classes, smoothing

  counts = np.bincount(matrix.columns, minlength=matrix.num_columns)
  weights = np.where(counts > 0, weigh(naive_bayes_linear.log_ratios(*arguments), max_ratio), 0)
  of_documents = weigh(naive_bayes_linear.held_out_log_ratios(*arguments), max_ratio)
  corpus = document_ngrams.corpus(matrix.rows, matrix.columns, of_documents, matrix.num_rows)
  return Ngrams(tables, counts, weights.astype(np.float32), corpus)


def weigh(ratios: Float[Array, "C ..."], max_ratio: float) -> Float[Array, "..."]:
  """The weights of n-grams with these r, an array of numpy or of jax."""
  array = ratios.__array_namespace__()
  return array.minimum(1, array.expm1(abs(ratios).max(0)) / (max_ratio - 1))


def weights_of(weights: Float[Array, "F"], ngrams: Int[Array, "..."]) -> Float[Array, "..."]:
  """The weights of n-grams of new documents; 0 for F, which stands for none."""
  return jnp.asarray(weights).at[ngrams].get(mode="fill", fill_value=0)
