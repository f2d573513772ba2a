"""The features of segments: against their definition, counts without a document's own, padding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import informative_ngrams, naive_bayes_linear, segment_classifier

SMOOTHING, MAX_RATIO, WORDS = 0.5, 4.0, 3


def documents_of(num_classes):
  """(documents of up to 11 words of six, the evidence of a run of random vectors)."""
  rng = np.random.default_rng(num_classes)
  lengths = np.sort(rng.integers(1, 12, 30)).astype(np.int32)
  ids = rng.integers(0, 6, (30, 11)).astype(np.int32)
  ids = np.where(np.arange(11) < lengths[:, None], ids, -1)
  labels = rng.integers(-1, num_classes, 30).astype(np.int32)
  documents = {"ids": ids, "lengths": lengths, "labels": labels}
  tables = naive_bayes_linear.tables(documents, 2, 6)
  matrix = naive_bayes_linear.document_term_matrix(tables, documents)
  counts = naive_bayes_linear.class_counts(matrix, labels, num_classes)
  vectors = rng.normal(size=(matrix.num_columns, 5))
  return documents, {
      "vectors": np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True)),
      "tables": tables,
      "counts": np.stack([counts[c] for c in range(num_classes)]).astype(np.int32),
      "sizes": naive_bayes_linear.log_size_ratios(counts, SMOOTHING),
  }  # fmt: skip


def features(evidence, ids, labels):
  options = {"words": WORDS, "smoothing": SMOOTHING, "max_ratio": MAX_RATIO}
  return segment_classifier.of_segments(
      evidence, jnp.asarray(ids), jnp.asarray(labels), **options
  )


def expected(documents, evidence, i, label):
  """x of document i by its words: with a label by the counts of all others."""
  words, every = documents["ids"], [d[d >= 0] for d in documents["ids"]]
  grams = [{tuple(d[a : a + n]) for n in (1, 2) for a in range(len(d) - n + 1)} for d in every]
  number = {}
  for at, found in zip(words, zip(*naive_bayes_linear.at_words(evidence["tables"], words))):
    for t in range(documents["lengths"].max()):
      for n, row in enumerate(found, 1):
        if row[t] < len(evidence["vectors"]):
          number[tuple(at[t - n + 1 : t + 1])] = int(row[t])
  num_classes, own = len(evidence["counts"]), every[i]
  classes = [1] if num_classes == 2 else range(num_classes)
  others = [j for j in range(len(every)) if not (j == i and label >= 0)]
  rows = []
  for start in range(0, len(own), WORDS):
    s, m, r = np.zeros(5), 0.0, np.zeros(len(classes))
    for end in range(start, min(start + WORDS, len(own))):
      for gram in [tuple(own[end - n + 1 : end + 1]) for n in (1, 2) if end - n + 1 >= 0]:
        has = [documents["labels"][j] for j in others if gram in grams[j]]
        ratios = []
        for c, size in zip(classes, evidence["sizes"]):
          p = SMOOTHING + sum(y == c for y in has)
          q = SMOOTHING + sum(y not in (c, -1) for y in has)
          ratios.append(np.log(p / q) - size)
        weight = min(1, (np.exp(np.abs(ratios).max()) - 1) / (MAX_RATIO - 1))
        s, m = s + weight * evidence["vectors"][number[gram]], m + weight
        r = r + weight * np.array(ratios)
    norm = max(np.linalg.norm(s), 1e-30)
    rows.append([*(np.sqrt(5 / norm) * s), np.log1p(m), *np.arcsinh(r)])
  return np.array(rows)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("num_classes", [2, 3])
def test_features_are_their_definition(num_classes, jit):
  documents, evidence = documents_of(num_classes)
  call = jax.jit(features) if jit else features
  for labels in (documents["labels"], np.full(30, -1)):
    found = np.asarray(call(evidence, documents["ids"], labels))
    assert found.shape == (30, 4, 5 + 1 + len(evidence["sizes"]))
    for i in (0, 7, 15, 22, 29):
      rows = expected(documents, evidence, i, labels[i])
      np.testing.assert_allclose(found[i, : len(rows)], rows, rtol=1e-4, atol=1e-4)
      assert not found[i, len(rows) :].any()


def test_a_label_changes_a_training_document_only_by_its_own_counts():
  documents, evidence = documents_of(2)
  chosen = np.flatnonzero(documents["labels"] >= 0)
  seen = features(evidence, documents["ids"][chosen], documents["labels"][chosen])
  new = features(evidence, documents["ids"][chosen], np.full(len(chosen), -1))
  sign = np.where(documents["labels"][chosen] == 1, 1, -1)[:, None]
  assert (sign * (new - seen)[..., -1] >= -1e-6).all()  # Its label makes its n-grams its class's.
  assert (np.abs(new - seen)[..., -1].max(-1) > 0.01).all()


def test_padding_changes_nothing():
  documents, evidence = documents_of(3)
  model = segment_classifier.SegmentClassifier(3, d_segment=8, d_hidden=4, d_attention=4)
  short = documents["ids"][:10, :6]
  lengths = -(-documents["lengths"][:10] // WORDS)
  assert documents["lengths"][:10].max() <= 6
  x = [features(evidence, ids, np.full(10, -1)) for ids in (short, documents["ids"][:10])]
  params = model.init(jax.random.key(0), x[0], lengths)
  logits = [model.apply(params, a, lengths) for a in x]
  np.testing.assert_allclose(*logits, rtol=1e-5, atol=1e-6)


def test_unknown_words_have_no_weight():
  _, evidence = documents_of(2)
  assert not features(evidence, np.full((1, 4), -1), np.array([1])).any()


@pytest.mark.parametrize("num_classes", [2, 3])
def test_ratios_are_the_same_by_numpy_and_by_jax(num_classes):
  documents, evidence = documents_of(num_classes)
  rng = np.random.default_rng(0)
  ngrams = rng.integers(0, len(evidence["vectors"]), 50)
  counts = {c: row + 1 for c, row in enumerate(evidence["counts"])}
  labels = rng.integers(-1, num_classes, 50)
  sizes = naive_bayes_linear.log_size_ratios(counts, SMOOTHING)
  found = naive_bayes_linear.without_own(counts, sizes, ngrams, labels, SMOOTHING)
  on_device = [jnp.asarray(x) for x in (np.stack(list(counts.values())), sizes, ngrams, labels)]
  again = naive_bayes_linear.without_own(*on_device, SMOOTHING)
  np.testing.assert_allclose(found, again, rtol=1e-5, atol=1e-6)
  weights = (informative_ngrams.weigh(x, MAX_RATIO) for x in (found, again))
  np.testing.assert_allclose(*weights, rtol=1e-5, atol=1e-6)
