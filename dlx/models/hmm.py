"""Taggers that count: the most frequent tag of a word, and a hidden Markov model (HMM).

The HMM of words w and tags y is p(w, y) = prod_t p(y_t | y_{t-1}) p(w_t | y_t). By Bayes' rule
p(w | y) is p(w) times p(y | w) / p(y), and the words are given, so that the model of the tags is a
conditional random field (dlx.layers.crf) with the emissions and transitions

  e_{t,k} = log((1 - a) p(k | w_t) / p(k) + a)     T_ij = log(b p(j) + (1 - b) p(j | i))

and with the most frequent tag e is log((1 - a) p(k | w_t) + a p(k)) without transitions. The p are
relative frequencies; a small a keeps a tag possible that a word did not have in training, and b
maximizes the likelihood of each pair of tags given all others (deleted interpolation). An unknown
word has p(k | its longest known suffix), smoothed by those of the shorter suffixes,

  p(k | s) = (f(k | s) + c p(k | s without its first letter)) / (1 + c)

with f the frequencies in rare words that are, or are not, capitalized, and c the standard deviation
of p(k) over the tags.

Source: Brants, "TnT: a statistical part-of-speech tagger" (2000), for b, c and the suffixes.
"""

import collections
from collections.abc import Iterable, Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

RARE = 10  # Suffixes are counted in words that occur at most so often.
POSSIBLE = 1e-5  # a.
MAX_TAGS = 32  # Of a word or suffix, the most frequent ones.

Rows = Sequence[Sequence[str]]


class Lexicon:
  """The rows of the table of words: known words, then suffixes of unknown ones."""

  def __init__(self, words: Sequence[str], suffixes: Sequence[str]):
    self.words, self.suffixes = list(words), list(suffixes)
    self._rows = {word: i for i, word in enumerate(self.words)}
    self._suffixes = {s: len(self.words) + i for i, s in enumerate(self.suffixes)}

  @classmethod
  def of(cls, words: Iterable[str], longest: int) -> "Lexicon":
    """Of the words of a training set: all of them, and the suffixes of two or more rare ones.

    Args:
      words: each as often as it occurs.
      longest: letters of a suffix.
    """
    times = collections.Counter(words)
    rare = (word for word, n in times.items() if n <= RARE)
    counts = collections.Counter(s for word in rare for s in suffixes(word, longest))
    known = sorted(s for s, n in counts.items() if n > 1 or len(s) == 1)
    return cls(sorted(times), sorted({*known, *suffixes("a", 0), *suffixes("A", 0)}))

  def row(self, word: str) -> int:
    """The row of a word, of its lower-case form, or of its longest known suffix."""
    for form in (word, word.lower()):
      if form in self._rows:
        return self._rows[form]
    return next(r for s in suffixes(word, len(word)) if (r := self._suffixes.get(s)) is not None)


def suffixes(word: str, longest: int) -> list[str]:
  """The suffixes, longest first and the empty one last, after a mark of words with a capital."""
  mark = "A" if word[:1].isupper() else "a"
  return [mark + word[len(word) - n :] for n in range(min(longest, len(word)), -1, -1)]


def fit(words: Rows, tags: Sequence[Sequence[int]], lexicon: Lexicon, num_tags: int) -> dict:
  """Counts a training set.

  Args:
    words: of each sentence.
    tags: of each word, 0 to K - 1.
    lexicon: of these words.
    num_tags: K.

  Returns:
    float32 and int32 arrays: "tags" (R, M), the tags of each row of the lexicon, and
    "probabilities" (R, M), those of each; "prior" (K,); "start" (K,), "transitions" (K, K) and
    "end" (K,), as for dlx.layers.crf.
  """
  flat = np.concatenate([np.asarray(row, int) for row in tags])
  prior = np.bincount(flat, minlength=num_tags) / len(flat)
  rows = [*_rows_of_words(words, tags, lexicon), *_rows_of_suffixes(words, tags, lexicon, prior)]
  width = max(len(ids) for ids, _ in rows)
  table = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width), np.float32)
  for i, (ids, p) in enumerate(rows):
    table[0][i, : len(ids)], table[1][i, : len(ids)] = ids, p / p.sum()
  names = dict(zip(("tags", "probabilities"), table))
  return {**names, "prior": np.float32(prior), **_chain(tags, num_tags)}


def _rows_of_words(words, tags, lexicon) -> list[tuple[np.ndarray, np.ndarray]]:
  """(tags, counts) of each word."""
  counts = {word: collections.Counter() for word in lexicon.words}
  for row, row_tags in zip(words, tags):
    for word, tag in zip(row, row_tags):
      counts[word][int(tag)] += 1
  best = (np.array(c.most_common(MAX_TAGS)) for c in counts.values())
  return [(pairs[:, 0], pairs[:, 1]) for pairs in best]


def _rows_of_suffixes(words, tags, lexicon, prior) -> list[tuple[np.ndarray, np.ndarray]]:
  """(tags, probabilities) of each suffix, the most probable ones."""
  times = collections.Counter(word for row in words for word in row)
  longest = max(map(len, lexicon.suffixes)) - 1
  counts = {suffix: collections.Counter() for suffix in lexicon.suffixes}
  for row, row_tags in zip(words, tags):
    for word, tag in zip(row, row_tags):
      if times[word] <= RARE:
        for suffix in suffixes(word, longest):
          if suffix in counts:
            counts[suffix][int(tag)] += 1
  c = prior.std(ddof=1) if len(prior) > 1 else 0.0
  found = {}
  for suffix in sorted(counts, key=len):  # The shorter ones first.
    shorter = found[suffix[0] + suffix[2:]] if len(suffix) > 1 else prior
    found[suffix] = np.float32(_smoothed(counts[suffix], shorter, c))
  best = (np.argsort(-row, kind="stable")[:MAX_TAGS] for row in map(found.get, lexicon.suffixes))
  return [(ids, found[suffix][ids]) for suffix, ids in zip(lexicon.suffixes, best)]


def _smoothed(counts, shorter, c) -> np.ndarray:
  total = sum(counts.values())
  if not total:
    return shorter
  row = c * shorter
  for k, n in counts.items():
    row[k] += n / total
  return row / (1 + c)


def _chain(tags, num_tags) -> dict[str, np.ndarray]:
  """The interpolated transitions; the boundary of a sentence is a tag of its own, the last."""
  counts = np.zeros((num_tags + 1, num_tags + 1))
  for row in tags:
    path = [num_tags, *row, num_tags]
    np.add.at(counts, (path[:-1], path[1:]), 1)
  before, after, total = counts.sum(1), counts.sum(0), counts.sum()
  i, j = np.nonzero(counts)
  n = counts[i, j]
  by_pair = (n - 1) / np.maximum(before[i] - 1, 1)
  by_one = (after[j] - 1) / max(total - 1, 1)
  b = n[by_one >= by_pair].sum() / n.sum()
  b = np.clip(b, 1e-3, 1 - 1e-3)
  p = b * after / total + (1 - b) * counts / np.maximum(before, 1)[:, None]
  with np.errstate(divide="ignore"):
    p = np.float32(np.log(p))
  return {"start": p[-1, :-1], "transitions": p[:-1, :-1], "end": p[:-1, -1]}


def emissions(
    table: dict[str, Array], rows: Int[Array, "..."], *, relative: bool
) -> Float[Array, "... K"]:
  """e of words.

  Args:
    table: as from `fit`.
    rows: of the lexicon, `(...)`.
    relative: True divides by p(k), for the HMM; False for the most frequent tag.
  """
  tags, p = (table[name][rows].reshape(-1, table[name].shape[1]) for name in (
      "tags", "probabilities"
  ))  # fmt: skip
  prior = table["prior"]
  dense = jnp.zeros((len(tags), len(prior))).at[jnp.arange(len(tags))[:, None], tags].add(p)
  if relative:
    e = (1 - POSSIBLE) * dense / prior + POSSIBLE
  else:
    e = (1 - POSSIBLE) * dense + POSSIBLE * prior
  return jnp.log(e).reshape(*rows.shape, len(prior))
