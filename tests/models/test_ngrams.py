"""The n-gram classifier: hashes, the table of n-grams, and the logits."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import ngrams

IDS = np.array([[5, 6, 5, 6, 0], [7, 5, 6, 9, 8], [9, 0, 0, 0, 0]])
LENGTHS = np.array([4, 5, 1])
MASK = np.arange(5) < LENGTHS[:, None]
LABELS = np.array([0, 1, 1])
DOCUMENTS = [tuple(map(int, ids[:length])) for ids, length in zip(IDS, LENGTHS)]


def grams(tokens, longest):
  """All n-grams of a document, by slices."""
  return [tokens[i : i + n] for n in range(1, longest + 1) for i in range(len(tokens) - n + 1)]


def hash_of(gram):
  found = ngrams.hashes(np.array(gram), np.ones(len(gram), bool), longest=len(gram))
  return int(found[-len(gram)])  # The first entry of length n; the others are NONE.


@pytest.mark.full
@pytest.mark.parametrize("longest", [1, 2, 3, 9])
@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_hash_of_an_ngram_is_unique_and_independent_of_its_context(longest, compile_):
  find = compile_(lambda ids, mask: ngrams.hashes(ids, mask, longest=longest))
  for ids, mask, tokens in zip(IDS, MASK, DOCUMENTS):
    padded = find(np.append(ids, [4, 4]), np.append(mask, [False] * 2))
    for found in (find(ids, mask), padded):
      found = collections.Counter(map(int, found))
      del found[int(ngrams.NONE)]
      assert found == collections.Counter(map(hash_of, grams(tokens, longest)))
  different = {gram for tokens in DOCUMENTS for gram in grams(tokens, longest)}
  assert len(set(map(hash_of, different))) == len(different)


@pytest.mark.parametrize("rows", [3, 64])
def test_the_table_has_the_most_frequent_ngrams_and_their_log_ratios(rows):
  table = ngrams.count(IDS, LENGTHS, LABELS, 2, longest=2, table_size=rows)
  documents = [set(grams(tokens, 2)) for tokens in DOCUMENTS]
  frequency = collections.Counter(gram for document in documents for gram in document)
  kept = sorted(frequency, key=lambda gram: (-frequency[gram], hash_of(gram)))[:rows]
  assert set(kept) >= {(5,), (6,), (5, 6)} and len(kept) == min(rows, len(frequency))
  hashes = [int(h) for h in table["hashes"] if h != ngrams.NONE]
  assert hashes == sorted(map(hash_of, kept))
  in_class = [
      {g: sum(g in d for d, label in zip(documents, LABELS) if label == k) for g in kept}
      for k in (0, 1)
  ]
  totals = [sum(1 + c for c in counts.values()) for counts in in_class]
  for gram in kept:
    p, q = ((1 + c[gram]) / total for c, total in zip(in_class, totals))
    row = table["log_ratios"][hashes.index(hash_of(gram))]
    np.testing.assert_allclose(row, [np.log(p / q), np.log(q / p)], rtol=1e-6)
  assert not table["log_ratios"][len(kept) :].any()


def variables_of(table, classes=2):
  weights = np.zeros((len(table["hashes"]), classes), np.float32)
  return jax.tree.map(jnp.asarray, {"params": {"weights": weights}, "ngrams": table})


def test_initial_logits_are_the_sums_of_the_log_ratios():
  table = ngrams.count(IDS, LENGTHS, LABELS, 2, longest=2, table_size=8)
  model = ngrams.NGrams(2, longest=2, table_size=8, start=0.5)
  logits = np.asarray(jax.jit(model.apply)(variables_of(table), IDS, MASK))
  row_of = {int(h): ratios for h, ratios in zip(table["hashes"], table["log_ratios"])}
  for row, tokens in zip(logits, DOCUMENTS):
    # Each n-gram counts once; those that are not in the table do not count.
    known = [row_of[hash_of(g)] for g in set(grams(tokens, 2)) if hash_of(g) in row_of]
    np.testing.assert_allclose(row, 0.5 * np.sum(known, 0), rtol=1e-5, atol=1e-6)
  unknown = model.apply(variables_of(table), np.full((1, 4), 77))
  np.testing.assert_array_equal(unknown, np.zeros((1, 2)))


def test_only_weights_of_occurring_ngrams_have_a_gradient():
  table = ngrams.count(IDS, LENGTHS, LABELS, 2, longest=1, table_size=16)
  model = ngrams.NGrams(2, longest=1, table_size=16)
  variables = variables_of({**table, "log_ratios": np.ones((16, 2), np.float32)})

  def loss(weights):
    return model.apply({**variables, "params": {"weights": weights}}, IDS[:1], MASK[:1])[0, 0]

  d_weights = np.asarray(jax.grad(loss)(variables["params"]["weights"]))
  expected = np.isin(table["hashes"], [hash_of((5,)), hash_of((6,))])
  np.testing.assert_allclose(d_weights[:, 0], model.step * expected, rtol=1e-6)
  assert not d_weights[:, 1].any()
