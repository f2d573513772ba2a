"""Taggers that count, against counts by hand and a sum over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.layers import crf
from dlx.models import hmm

WORDS = (("the", "saw"), ("saw", "the", "dog"), ("the", "dog"))
TAGS = ((0, 1), (2, 0, 1), (0, 1))


def fitted(words=WORDS, tags=TAGS, longest=3, num_tags=3):
  lexicon = hmm.Lexicon.of((w for row in words for w in row), longest)
  return lexicon, hmm.fit(words, tags, lexicon, num_tags)


def test_a_word_is_found_by_its_form_then_in_lower_case_then_by_its_longest_suffix():
  lexicon = hmm.Lexicon(["Dog", "the"], ["A", "a", "as", "aes", "Aes"])
  assert [lexicon.row(w) for w in ("the", "The", "Dog", "dog")] == [1, 1, 0, 3]
  assert [lexicon.row(w) for w in ("cats", "horses", "Jones", "X", "")] == [4, 5, 6, 2, 3]


def test_suffixes_are_of_rare_words_of_one_capitalization():
  words = [*["ending"] * (hmm.RARE + 1), "bring", "string", "Hemming", "ring"]
  lexicon = hmm.Lexicon.of(words, 4)
  assert {"aring", "aing", "ag", "a", "A"} <= set(lexicon.suffixes)
  assert not {"Aing", "ding", "aming", "anding"} & set(lexicon.suffixes)


def test_the_emissions_of_a_known_word_are_its_relative_frequencies():
  lexicon, table = fitted()
  rows = jnp.asarray([lexicon.row("saw"), lexicon.row("dog")])
  p = jnp.exp(hmm.emissions(table, rows, relative=False))
  np.testing.assert_allclose(p, [[0, 1 / 2, 1 / 2], [0, 1, 0]], atol=2e-5)
  assert (p > 0).all()
  prior = np.array([3, 3, 1]) / 7
  np.testing.assert_allclose(table["prior"], prior, rtol=1e-6)
  ratio = jnp.exp(hmm.emissions(table, rows, relative=True))
  np.testing.assert_allclose(ratio, np.array([[0, 1 / 2, 1 / 2], [0, 1, 0]]) / prior, atol=4e-5)


def test_the_suffix_of_an_unknown_word_is_smoothed_by_shorter_ones():
  words = (("walked", "talked", "red", "bed"),)
  lexicon, table = fitted(words, ((0, 0, 1, 2),))
  prior = np.array([2, 1, 1]) / 4
  c = prior.std(ddof=1)
  found = prior
  for frequencies in ([2, 1, 1], [2, 1, 1], [2, 1, 1], [2, 0, 0]):  # -, d, ed, ked.
    found = (np.array(frequencies) / sum(frequencies) + c * found) / (1 + c)
  e = hmm.emissions(table, jnp.asarray([lexicon.row("asked")]), relative=False)
  np.testing.assert_allclose(jnp.exp(e[0]), found, rtol=1e-4)


def test_transitions_interpolate_pairs_and_single_tags():
  # Of the ten pairs of tags, two are as probable or more by the second tag alone, given the others.
  _, table = fitted()
  p = {name: np.exp(table[name]) for name in ("start", "transitions", "end")}
  np.testing.assert_allclose(p["start"], [0.2 * 0.3 + 0.8 * 2 / 3, 0.06, 0.02 + 0.8 / 3], rtol=1e-5)
  np.testing.assert_allclose(
      p["transitions"], [[0.06, 0.86, 0.02], [0.06, 0.06, 0.02], [0.86, 0.06, 0.02]], rtol=1e-5
  )
  np.testing.assert_allclose(p["end"], [0.06, 0.86, 0.06], rtol=1e-5)


def test_the_best_tags_are_those_of_the_joint_probability():
  lexicon, table = fitted()
  words = ("saw", "the", "saw")
  e = hmm.emissions(table, jnp.asarray([lexicon.row(w) for w in words]), relative=True)
  chain = {name: table[name] for name in ("start", "transitions", "end")}

  def joint(path):  # p(w | y) is proportional to p(y | w) / p(y).
    total = table["start"][path[0]] + table["end"][path[-1]]
    total += sum(table["transitions"][i, j] for i, j in itertools.pairwise(path))
    return float(total + sum(e[t, k] for t, k in enumerate(path)))

  best = max(itertools.product(range(3), repeat=3), key=joint)
  assert tuple(jax.jit(crf.viterbi)(chain, e)[0].tolist()) == best == (2, 0, 1)
