"""N-gram language models against textbook equations on dictionaries."""

import collections
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import ngram_counts
from dlx.models import ngram_language_model as ngrams
from dlx.models import ngram_smoothing

V = 6
METHODS = ngram_smoothing.METHODS
# Skewed, so that counts of counts differ; the id V - 1 never occurs.
TEXT = np.minimum(np.random.default_rng(0).geometric(0.45, 400) - 1, V - 2).astype(np.int32)
SHORT = np.int32([0, 1, 0, 2, 0, 1])
K = 0.3


def grams(ids, n):
  return collections.Counter(tuple(map(int, ids[i : i + n])) for i in range(len(ids) - n + 1))


class KneserNey:
  """Interpolated modified Kneser-Ney, as Chen and Goodman (1999) write it."""

  def __init__(self, ids, order):
    self.counts = {order: grams(ids, order)}
    for n in range(1, order):
      left = collections.defaultdict(set)
      for gram in grams(ids, n + 1):
        left[gram[1:]].add(gram[0])
      self.counts[n] = {gram: len(tokens) for gram, tokens in left.items()}
    self.discounts = {n: self.estimate(counts) for n, counts in self.counts.items()}

  @staticmethod
  def estimate(counts):
    n = collections.Counter(counts.values())
    y = n[1] / (n[1] + 2 * n[2]) if n[1] else 0
    found = {}
    for i in (1, 2, 3):
      known = n[1] > 0 and n[i] > 0 and n[i + 1] > 0
      value = i - (i + 1) * y * n[i + 1] / n[i] if known else 0
      found[i] = value if value > 0 else i / 2
    return found

  def p(self, word, context):
    if context is None:
      return 1 / V
    counts, discount = self.counts[len(context) + 1], self.discounts[len(context) + 1]
    shorter = self.p(word, context[1:] if context else None)
    after = {w: counts.get((*context, w), 0) for w in range(V)}
    total = sum(after.values())
    if not total:
      return shorter
    taken = sum(discount[min(c, 3)] for c in after.values() if c)
    c = after[word]
    return ((c - discount[min(c, 3)]) if c else 0) / total + taken / total * shorter


class AddK:
  def __init__(self, ids, order):
    self.counts = {n: grams(ids, n) for n in range(1, order + 1)}

  def p(self, word, context):
    counts = self.counts[len(context) + 1]
    total = sum(counts[(*context, w)] for w in range(V))
    return (counts[(*context, word)] + K) / (total + K * V)


class BackOff:
  def __init__(self, ids, order):
    self.counts = {n: grams(ids, n) for n in range(1, order + 1)}

  def p(self, word, context):
    counts = self.counts[len(context) + 1]
    n = collections.Counter(counts.values())
    d = n[1] / (n[1] + 2 * n[2]) if n[1] and n[2] else 0.5
    seen = {w: counts[(*context, w)] for w in range(V) if counts[(*context, w)]}
    total = sum(seen.values())
    if not context:
      return max(seen.get(word, 0) - d, 0) / total + d * len(seen) / total / V
    if not seen:
      return self.p(word, context[1:])
    if len(seen) == V:
      return seen[word] / total
    if word in seen:
      return (seen[word] - d) / total
    left = 1 - sum((c - d) / total for c in seen.values())
    rest = 1 - sum(self.p(w, context[1:]) for w in seen)
    return left / rest * self.p(word, context[1:])


REFERENCES = {"kneser_ney": KneserNey, "add_k": AddK, "back_off": BackOff}


@functools.cache
def model(method, order, text="long"):
  ids = TEXT if text == "long" else SHORT
  return ngram_smoothing.tables(ngram_counts.count(ids, order, V), method, k=K)


def scores(tables, ids, method, compile_=jax.jit):
  with jax.enable_x64(True):
    score = functools.partial(ngrams.log_probabilities, method=method)
    return np.exp(compile_(score)(jax.tree.map(jnp.asarray, tables), jnp.asarray(ids)))


@pytest.mark.sampled(6)
@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
@pytest.mark.parametrize("text", ["long", "short"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_probabilities_are_those_of_the_textbook(method, order, text, compile_):
  reference = REFERENCES[method](TEXT if text == "long" else SHORT, order)
  # Drawn evenly: most contexts of a high order were never seen.
  read = np.random.default_rng(1).integers(0, V, 60).astype(np.int32)
  read[:20] = TEXT[:20]
  found = scores(model(method, order, text), read, method, compile_)
  for t, word in enumerate(map(int, read)):
    context = tuple(map(int, read[max(0, t - order + 1) : t]))
    assert found[t] == pytest.approx(reference.p(word, context), rel=1e-9), (t, context)


@pytest.mark.parametrize("text", ["long", "short"])
@pytest.mark.parametrize("order", [1, 2, 4])
@pytest.mark.parametrize("method", METHODS)
def test_probabilities_after_every_context_sum_to_1(method, order, text):
  tables = model(method, order, text)
  contexts = np.int32(list(itertools.product(range(V), repeat=order - 1)))
  rows = np.concatenate([
      np.repeat(contexts, V, 0), np.tile(np.arange(V, dtype=np.int32), len(contexts))[:, None]
  ], 1)  # fmt: skip
  found = scores(tables, rows, method)[:, -1].reshape(-1, V)
  assert (found > 0).all()
  np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)


def test_add_k_by_hand():
  # 0 1 0 2 0 1: after 0 come 1, 2, 1; with k = 0.3 and V = 6, k V = 1.8.
  found = scores(model("add_k", 2, "short"), np.int32([[0, 1], [0, 2], [0, 3], [5, 0]]), "add_k")
  np.testing.assert_allclose(found[:, 1], [2.3 / 4.8, 1.3 / 4.8, 0.3 / 4.8, 1 / 6])


def test_kneser_ney_by_hand():
  # Bigrams 01 twice; 10, 02, 20 once: n_1 = 3, n_2 = 1, Y = 3/5, D_1 = 1 - 2/5, and n_3 = 0, so
  # that D_2 = 1. Tokens before: two for 0, one for 1, one for 2: n_1 = 2, n_2 = 1, Y = 1/2,
  # D_1 = 1/2, D_2 = 1.
  unigram = np.array([1 / 4, 0.5 / 4, 0.5 / 4, 0, 0, 0]) + 2 / 4 / 6
  after_0 = np.array([0, 1 / 3, 0.4 / 3, 0, 0, 0]) + 1.6 / 3 * unigram
  after_1 = np.array([0.4, 0, 0, 0, 0, 0]) + 0.6 * unigram
  tables = model("kneser_ney", 2, "short")
  for context, expected in ((0, after_0), (1, after_1), (4, unigram)):
    rows = np.int32([[context, w] for w in range(V)])
    np.testing.assert_allclose(scores(tables, rows, "kneser_ney")[:, 1], expected)


def test_discounts_are_those_of_chen_and_goodman():
  counts = np.repeat([0, 1, 2, 3, 4, 9], [7, 40, 15, 8, 5, 3])
  y = 40 / 70
  expected = [0, 1 - 2 * y * 15 / 40, 2 - 3 * y * 8 / 15, 3 - 4 * y * 5 / 8]
  np.testing.assert_allclose(ngram_smoothing.discounts(counts), expected)


@pytest.mark.parametrize("method", METHODS)
def test_tokens_before_the_text_are_no_context(method):
  tables, ids = model(method, 4), TEXT[:9]
  padded = np.concatenate([np.full(5, ngrams.BEFORE, np.int32), ids])
  np.testing.assert_array_equal(scores(tables, padded, method)[5:], scores(tables, ids, method))


@pytest.mark.sampled(2)
@pytest.mark.parametrize("order", [1, 4])
@pytest.mark.parametrize("method", METHODS)
def test_the_next_logits_are_those_of_reading_further(method, order):
  with jax.enable_x64(True):
    tables = jax.tree.map(jnp.asarray, model(method, order))
    logits = jax.jit(functools.partial(ngrams.next_logits, method=method))
    read = jax.jit(ngrams.read)
    for ids in (TEXT[:2], np.int32([1, 0, 5, 0])):
      rows = np.concatenate([np.tile(ids, (V, 1)), np.arange(V, dtype=np.int32)[:, None]], 1)
      first = read(tables, jnp.asarray(ids[:1]), ngrams.empty(order))
      states = read(tables, jnp.asarray(ids[1:]), first[-1])
      found = np.exp(logits(tables, jnp.concatenate([first, states])))
      assert found.shape == (len(ids), V)
      expected = scores(model(method, order), rows, method)[:, -1]
      np.testing.assert_allclose(found[-1], expected, rtol=1e-9)


def test_counts_are_those_of_a_dictionary():
  levels = ngram_counts.count(TEXT, 4, V)
  known = [[(w,) for w in range(V)]]
  for n, level in enumerate(levels, 1):
    if n > 1:
      known.append([(*known[-1][c], w) for c, w in zip(level.contexts, level.words)])
      assert known[-1] == sorted(set(known[-1]))
      assert [known[-2][s] for s in level.suffixes] == [gram[1:] for gram in known[-1]]
    found = {g: c for g, c in zip(known[-1], level.counts) if c}
    assert found == grams(TEXT, n)


@pytest.mark.parametrize("order", [0, 7])
def test_an_order_below_1_or_beyond_the_text_is_refused(order):
  with pytest.raises(ValueError, match="order: expected 1 to 6"):
    ngram_counts.count(SHORT, order, V)


def test_an_unknown_method_is_refused():
  with pytest.raises(ValueError, match="method: expected one of kneser_ney"):
    ngram_smoothing.tables(ngram_counts.count(SHORT, 2, V), "good_turing")
