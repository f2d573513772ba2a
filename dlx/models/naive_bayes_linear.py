"""A linear classifier of documents on all their n-grams, weighted by naive Bayes.

  z_c = b_c + sum_f x_f r_cf v_cf,     x_f = 1 if the document has the n-gram f, else 0
  r_cf = log (p_cf / |p_c|) - log (q_cf / |q_c|),   p_cf = a + #documents of class c with f

with q_c of the documents of all other classes, |p_c| = sum_f p_cf and a the smoothing. Naive Bayes
is v = 1; a fitted v corrects its assumption of independence where the documents ask for it. Of two
classes the first has z = 0, of more each is told from the rest.

An n-gram is an index into the table of its order (dlx.models.ngram_language_model); the n-grams of
all orders are numbered through.

Source: Wang and Manning, "Baselines and bigrams: simple, good sentiment and topic classification"
  (2012); Mesnil et al., "Ensemble of generative and discriminative techniques for sentiment
  analysis of movie reviews" (2015), for n-grams of three words.
"""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from dlx.data import ngram_counts
from dlx.data.word_documents import UNKNOWN
from dlx.experiment import Arrays
from dlx.models import ngram_language_model as ngrams
from dlx.models.sparse_linear import SparseBinary


def tables(
    documents: Arrays, order: int, vocab_size: int, min_count: int = 1
) -> list[dict[str, np.ndarray]]:
  """The n-grams that occur in documents, for `features`; none crosses the end of a document.

  Args:
    documents: "ids" and "lengths" of dlx.data.word_documents.
    order: the largest n.
    vocab_size: V; all V words are kept.
    min_count: rarer n-grams of two and more words are left out.

  Returns:
    A table for each n, up to the largest of which an n-gram is left.
  """
  # The id V ends each document, or is an unknown word; n-grams with it are never looked up.
  ids = np.pad(documents["ids"], ((0, 0), (0, 1)), constant_values=UNKNOWN)
  stream = ids[np.arange(ids.shape[1]) <= documents["lengths"][:, None]]
  stream = np.where(stream == UNKNOWN, vocab_size, stream)
  levels = ngram_counts.count(stream, order, vocab_size + 1)
  found = [{"size": np.zeros(vocab_size, np.int8)}]
  shorter = np.arange(vocab_size + 1)
  for level in levels[1:]:
    # With a frequent n-gram its beginning is frequent, too, and kept.
    kept = np.flatnonzero(level.counts >= min_count)
    if not len(kept):
      break
    starts = np.append(np.searchsorted(level.contexts[kept], shorter), len(kept))
    found.append({"words": level.words[kept].astype(np.int32), "starts": starts.astype(np.int32)})
    shorter = kept
  return found


def num_features(tables: Sequence[Mapping[str, Array]]) -> int:
  """F, the number of n-grams of all orders."""
  return sum(len(table["words" if "words" in table else "size"]) for table in tables)


def features(tables: Sequence[Mapping[str, Array]], ids: Int[Array, "B T"]) -> Int[Array, "B L"]:
  """The distinct n-grams of documents, ascending, with F in place of repetitions and unknown ones.

  Args:
    tables: see `tables`.
    ids: rows of dlx.data.word_documents.
  """
  count = num_features(tables)
  found = jnp.sort(jnp.concatenate(at_words(tables, ids), -1), -1)
  repeated = jnp.pad(found[:, 1:] == found[:, :-1], ((0, 0), (1, 0)))
  return jnp.where(repeated, count, found)


def at_words(
    tables: Sequence[Mapping[str, Array]], ids: Int[Array, "B T"]
) -> list[Int[Array, "B T"]]:
  """The n-gram of each order that ends at each word, F without one; arguments as `features`."""
  count, first, found = num_features(tables), 0, []
  for table, rows in zip(tables, ngrams.lookup(tables, ids)):
    found.append(jnp.where(rows >= 0, first + rows, count))
    first += num_features([table])
  return found


def document_term_matrix(
    tables: Sequence[Mapping[str, Array]], documents: Arrays, chunk: int = 256
) -> SparseBinary:
  """The n-grams of each training document, as a sparse matrix.

  Args:
    tables: see `tables`.
    documents: "ids" and "lengths", sorted by length.
    chunk: documents at a time.
  """
  of_chunk, on_device = jax.jit(features), jax.device_put(list(tables))
  count, rows, columns = num_features(tables), [], []
  for first in range(0, len(documents["ids"]), chunk):
    lengths = documents["lengths"][first : first + chunk]
    width = 1 << int(lengths.max() - 1).bit_length()  # Few widths are few programs.
    found = np.asarray(of_chunk(on_device, documents["ids"][first : first + chunk, :width]))
    row, column = np.nonzero(found < count)
    rows.append(np.int32(first + row))
    columns.append(found[row, column])
  return SparseBinary(np.concatenate(rows), np.concatenate(columns), len(documents["ids"]), count)


def log_ratios(
    matrix: SparseBinary, labels: Int[np.ndarray, "N"], num_classes: int, smoothing: float
) -> Float[np.ndarray, "C F"]:
  """r, of the second class alone if there are two (C = 1), else of each (C = K).

  Args:
    matrix: the n-grams of the training documents.
    labels: their classes; -1 for a document without one, which is not counted.
    num_classes: K.
    smoothing: a, above 0.
  """
  counts = class_counts(matrix, labels, num_classes)
  every = sum(counts.values())
  seen = every > 0

  def of(c):
    p, q = smoothing + counts[c], smoothing + every - counts[c]
    return np.float32(np.log(p) - np.log(p[seen].sum()) - np.log(q) + np.log(q[seen].sum()))

  return np.stack([of(c) for c in scored_classes(num_classes)])


def held_out_log_ratios(
    matrix: SparseBinary, labels: Int[np.ndarray, "N"], num_classes: int, smoothing: float
) -> Float[np.ndarray, "C M"]:
  """r of each n-gram of each document, with the counts of all other documents.

  An n-gram that occurs in one document says nothing about others, though `log_ratios` has the label
  of that one. |p| and |q| are those of all documents.

  Args:
    matrix: the n-grams of the training documents.
    labels, num_classes, smoothing: as for `log_ratios`.
  """
  counts = class_counts(matrix, labels, num_classes)
  sizes = log_size_ratios(counts, smoothing)
  return without_own(counts, sizes, matrix.columns, labels[matrix.rows], smoothing)


def log_size_ratios(
    counts: Mapping[int, Int[np.ndarray, "F"]], smoothing: float
) -> Float[np.ndarray, "C"]:
  """log |p_c| / |q_c| of the classes of `scored_classes`; arguments as `without_own`."""
  every = sum(counts.values())
  seen = every > 0

  def of(c):
    p, q = ((smoothing + x[seen]).sum() for x in (counts[c], every - counts[c]))
    return np.float32(np.log(p / q))

  return np.stack([of(c) for c in scored_classes(len(counts))])


def without_own(
    counts: Mapping[int, Int[Array, "F"]] | Int[Array, "K F"],
    sizes: Float[Array, "C"],
    ngrams: Int[Array, "..."],
    labels: Int[Array, "..."],
    smoothing: float,
) -> Float[Array, "C ..."]:
  """r of n-grams that documents have, with the counts of all other documents.

  Args:
    counts: of `class_counts`, or these as one array.
    sizes: of `log_size_ratios`.
    ngrams: indices of n-grams; arrays of numpy or of jax.
    labels: of the document that has each; -1 for one that was not counted.
    smoothing: as for `log_ratios`.
  """
  array = ngrams.__array_namespace__()  # The functions below are those of numpy or of jax.
  found = [counts[c][ngrams] for c in range(len(counts))]

  def of(c, size):
    own, other = labels == c, (labels >= 0) & (labels != c)
    p, q = smoothing + found[c] - own, smoothing + sum(found) - found[c] - other
    return (array.log(p / q) - size).astype(array.float32)

  return array.stack([of(c, size) for c, size in zip(scored_classes(len(counts)), sizes)])


def class_counts(
    matrix: SparseBinary, labels: Int[np.ndarray, "N"], num_classes: int
) -> dict[int, Int[np.ndarray, "F"]]:
  """The number of documents of each class with each n-gram."""
  counts = {}
  for c in range(num_classes):
    chosen = matrix.columns[(labels == c)[matrix.rows]]
    counts[c] = np.bincount(chosen, minlength=matrix.num_columns)
  return counts


def log_odds(labels: Int[np.ndarray, "N"], num_classes: int) -> Float[np.ndarray, "C"]:
  """b of naive Bayes: log p(c) / (1 - p(c)), of the classes of `scored_classes`."""
  p = np.bincount(labels, minlength=num_classes)[list(scored_classes(num_classes))] / len(labels)
  return np.float32(np.log(p) - np.log1p(-p))


def scored_classes(num_classes: int) -> Sequence[int]:
  """The classes that have a score of their own."""
  return [1] if num_classes == 2 else range(num_classes)


def logits(
    variables: Mapping, tables: Sequence[Mapping[str, Array]], ids: Int[Array, "B T"]
) -> Float[Array, "B K"]:
  """z, with 0 for the first of two classes.

  Args:
    variables: "weights" (C, F), r v, and "bias" (C,).
    tables, ids: as for `features`.
  """
  found = features(tables, ids)
  weights = jnp.asarray(variables["weights"]).at[:, found].get(mode="fill", fill_value=0)  # At F.
  scores = weights.sum(-1).T + variables["bias"]
  return jnp.concatenate([jnp.zeros_like(scores), scores], -1) if scores.shape[1] == 1 else scores


def contributions(
    weights: Float[np.ndarray, "C F"], sizes: Sequence[int], found: Int[np.ndarray, "n T"]
) -> tuple[Int[np.ndarray, "M 2"], Float[np.ndarray, "M C"]]:
  """The distinct n-grams of a document and what each adds to z.

  Args:
    weights: r v.
    sizes: the number of n-grams of each order.
    found: of `ngram_language_model.lookup`, the n-gram of each order that ends at each word.

  Returns:
    (the words from start to end of the first occurrence of each, its weights).
  """
  spans, columns, first = [], [], 0
  for n, (size, rows) in enumerate(zip(sizes, found), 1):
    known, ends = np.unique(rows, return_index=True)
    ends, known = ends[known >= 0] + 1, known[known >= 0]
    spans.append(np.stack([ends - n, ends], -1))
    columns.append(first + known)
    first += size
  return np.concatenate(spans), weights[:, np.concatenate(columns)].T
