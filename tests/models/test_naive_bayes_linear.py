"""N-grams of documents, their naive Bayes weights and the scores, by loops and sets."""

import jax
import numpy as np
import pytest

from dlx.data import word_documents
from dlx.models import naive_bayes_linear as model
from dlx.models import ngram_language_model as ngrams

TEXTS = ["a b a b", "b", "c a b c a", "a a a", "b c"]  # Sorted by length below.
LABELS = np.int32([0, 1, 2, 0, 1])


@pytest.fixture(scope="module")
def documents():
  words = word_documents.vocabulary(TEXTS)
  ids = {word: i for i, word in enumerate(words)}
  rows = word_documents.rows([text.split() for text in TEXTS], ids, 10)
  order = np.argsort(rows["lengths"], kind="stable")
  return {"labels": LABELS[order], **{name: x[order] for name, x in rows.items()}}


def grams_of(row, order):
  """The distinct n-grams of a row, as tuples."""
  words = [int(i) for i in row]
  found = {tuple(words[i : i + n]) for n in range(1, order + 1) for i in range(len(words) - n + 1)}
  return {gram for gram in found if -1 not in gram}


def names_of(tables, order):
  """The n-gram of each feature, by asking for all that there can be."""
  names, features = {}, jax.jit(model.features)
  for n in range(1, order + 1):
    for gram in np.ndindex(*(3,) * n):
      found = np.asarray(features(tables, np.int32([gram])))[0]
      new = {int(i) for i in found if i < model.num_features(tables)} - set(names)
      if len(new) == 1:
        names[new.pop()] = gram
  return names


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("order", [1, 3])
def test_features_are_the_distinct_ngrams_within_a_document(documents, order, compile_):
  tables = model.tables(documents, order, 3)
  names, count = names_of(tables, order), model.num_features(tables)
  found = np.asarray(compile_(model.features)(tables, documents["ids"]))
  for row, ids in zip(found, documents["ids"]):
    kept = [int(i) for i in row if i < count]
    assert len(kept) == len(set(kept)) and {names[i] for i in kept} == grams_of(ids, order)


def test_ngrams_that_training_does_not_have_are_left_out(documents):
  tables = model.tables(documents, 2, 3)
  count = model.num_features(tables)
  # The bigram (b, b), the unknown word -1 and what is beside it.
  found = np.asarray(model.features(tables, np.int32([[1, 1, -1, 1]])))[0]
  assert sum(found < count) == 1


def test_the_sparse_matrix_has_a_one_for_each_ngram_of_each_document(documents):
  tables = model.tables(documents, 2, 3)
  matrix, names = model.document_term_matrix(tables, documents, chunk=2), names_of(tables, 2)
  for i, ids in enumerate(documents["ids"]):
    assert {names[int(c)] for c in matrix.columns[matrix.rows == i]} == grams_of(ids, 2)
  assert (np.diff(matrix.rows) >= 0).all() and matrix.num_rows == len(TEXTS)


@pytest.mark.parametrize("num_classes", [2, 3])
def test_log_ratios_are_those_of_counted_documents(documents, num_classes):
  labels = documents["labels"] % num_classes
  tables = model.tables(documents, 2, 3)
  matrix, names = model.document_term_matrix(tables, documents), names_of(tables, 2)
  found = model.log_ratios(matrix, labels, num_classes, 0.5)
  assert len(found) == (1 if num_classes == 2 else 3)
  for c, ratios in zip(model.scored_classes(num_classes), found):
    known = sorted(names)  # Others cross the end of a document, and are never looked up.
    p, q = np.full((2, len(known)), 0.5)
    for ids, label in zip(documents["ids"], labels):
      (p if label == c else q)[:] += [names[i] in grams_of(ids, 2) for i in known]
    expected = np.log(p / p.sum()) - np.log(q / q.sum())
    np.testing.assert_allclose(ratios[known], expected, rtol=1e-5, atol=1e-6)


def test_logits_are_the_bias_and_the_weights_of_the_ngrams(documents):
  tables = model.tables(documents, 2, 3)
  names, rng = names_of(tables, 2), np.random.default_rng(0)
  for columns in (1, 3):
    weights = np.float32(rng.normal(size=(columns, model.num_features(tables))))
    variables = {"weights": weights, "bias": np.float32(rng.normal(size=columns))}
    found = np.asarray(model.logits(variables, tables, documents["ids"]))
    for row, ids in zip(found, documents["ids"]):
      chosen = [i for i, gram in names.items() if gram in grams_of(ids, 2)]
      expected = variables["bias"] + weights[:, chosen].sum(-1)
      expected = [0, *expected] if columns == 1 else expected
      np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("columns", [1, 3])
def test_contributions_and_the_bias_add_up_to_the_logits(documents, columns):
  tables, rng = model.tables(documents, 2, 3), np.random.default_rng(0)
  weights = np.float32(rng.normal(size=(columns, model.num_features(tables))))
  variables = {"weights": weights, "bias": np.float32(rng.normal(size=columns))}
  sizes = [model.num_features([table]) for table in tables]
  for ids in [*documents["ids"], np.int32([1, -1, 1, 1])]:
    found = [np.asarray(rows[0]) for rows in ngrams.lookup(tables, ids[None])]
    spans, added = model.contributions(weights, sizes, found)
    assert len({tuple(ids[a:b]) for a, b in spans}) == len(spans)
    expected = np.asarray(model.logits(variables, tables, ids[None]))[0, -columns:]
    np.testing.assert_allclose(added.sum(0) + variables["bias"], expected, rtol=1e-5, atol=1e-6)


def test_the_bias_of_naive_bayes_is_the_log_odds_of_the_classes():
  np.testing.assert_allclose(model.log_odds(np.int32([0, 1, 1, 1]), 2), [np.log(3)], rtol=1e-6)
  np.testing.assert_allclose(
      model.log_odds(np.int32([0, 1, 1, 2]), 3), np.log([1 / 3, 1, 1 / 3]), rtol=1e-6
  )


@pytest.mark.parametrize("num_classes", [2, 3])
def test_held_out_ratios_are_those_of_the_other_documents(documents, num_classes):
  labels = np.where(documents["labels"] < num_classes, documents["labels"], -1)
  tables = model.tables(documents, 2, 3)
  matrix = model.document_term_matrix(tables, documents)
  found = model.held_out_log_ratios(matrix, labels, num_classes, 0.5)
  every = model.log_ratios(matrix, labels, num_classes, 0.5)
  for i, label in enumerate(labels):
    own = matrix.rows == i
    if label < 0:
      np.testing.assert_allclose(found[:, own], every[:, matrix.columns[own]], rtol=1e-5)
      continue
    columns = matrix.columns[own]
    for row, c in zip(found[:, own], model.scored_classes(num_classes)):
      p, q = (  # Their counts without document i.
          np.array([
              sum(is_c(labels[n]) for n in matrix.rows[matrix.columns == f] if n != i)
              for f in columns
          ])
          for is_c in (lambda k, c=c: k == c, lambda k, c=c: k >= 0 and k != c)
      )
      of_all = [
          sum(0.5 + np.sum(is_c(labels[matrix.rows[matrix.columns == f]]))
              for f in np.unique(matrix.columns[labels[matrix.rows] >= 0]))
          for is_c in (lambda k, c=c: k == c, lambda k, c=c: (k >= 0) & (k != c))
      ]  # fmt: skip
      expected = np.log((0.5 + p) / (0.5 + q)) - np.log(of_all[0] / of_all[1])
      np.testing.assert_allclose(row, expected, rtol=1e-5)


@pytest.mark.parametrize("min_count", [2, 3, 4])
def test_rare_ngrams_are_left_out(documents, min_count):
  every, kept = (model.tables(documents, 3, 3, min_count=n) for n in (1, min_count))
  names, shorter = names_of(every, 3), names_of(kept, 3)
  counts = {name: 0 for name in names.values()}
  for row in documents["ids"]:
    words = [int(i) for i in row if i >= 0]
    for n in range(1, 4):
      for start in range(len(words) - n + 1):
        counts[tuple(words[start : start + n])] += 1
  expected = {name for name, count in counts.items() if count >= min_count or len(name) == 1}
  assert set(shorter.values()) == expected
