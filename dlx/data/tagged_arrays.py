"""Tagged sentences as arrays: ids of words, characters of words and tags."""

import collections
from collections.abc import Callable, Sequence

import numpy as np

from dlx.data import tokens
from dlx.data.tagged import Tagged
from dlx.distributed import processes

UNKNOWN = 0  # The id of words that are not in the vocabulary.
NUM_CHARACTERS = 256  # With 0 for padding and 1 for a character unseen in training.
UNSEEN = -1  # The label of a tag that does not occur in training.


def vocabulary(words: Sequence[Sequence[str]], *, min_count: int, lowercase: bool) -> list[str]:
  """The words that occur at least min_count times, the most frequent first."""
  counts = collections.Counter(w.lower() if lowercase else w for row in words for w in row)
  found = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
  return [word for word, n in found if n >= min_count]


def alphabet(words: Sequence[Sequence[str]]) -> str:
  """The most frequent characters, at most NUM_CHARACTERS - 2."""
  counts = collections.Counter()
  for word, n in collections.Counter(w for row in words for w in row).items():
    counts.update({c: n * k for c, k in collections.Counter(word).items()})
  found = sorted(counts, key=lambda c: (-counts[c], c))
  return "".join(found[: NUM_CHARACTERS - 2])


def word_ids(words: Sequence[str], *, lowercase: bool) -> Callable[[str], int]:
  """`id_of(word)`: 1 for the first of `words`, UNKNOWN for all others."""
  ids = {word: i for i, word in enumerate(words, UNKNOWN + 1)}
  return lambda word: ids.get(word.lower() if lowercase else word, UNKNOWN)


def spell(characters: str, max_characters: int) -> Callable[[str], list[int]]:
  """`spelling_of(word)`: ids of its characters, cut by `tokens.truncate`."""
  ids = {c: i for i, c in enumerate(characters, 2)}
  return lambda word: [ids.get(c, 1) for c in tokens.truncate(word, max_characters)]


def learn(words: Sequence[Sequence[str]], *, min_count: int, lowercase: bool) -> dict:
  """Assets of a network: "words", all of them, "embedded", see `vocabulary`, and "characters"."""
  return {
      "words": sorted({word for row in words for word in row}),
      "embedded": vocabulary(words, min_count=min_count, lowercase=lowercase),
      "characters": alphabet(words),
  }


def make_reader(assets: dict, options, id_of: Callable[[str], int] | None = None) -> Callable:
  """`read(words of sentences) -> arrays`, see `encode`.

  Args:
    assets: as from `learn`; "words" is enough with id_of.
    options: max_length and, without id_of, lowercase and max_characters.
    id_of: of a word, in place of its id and its characters.
  """
  spelling = {}
  if id_of is None:
    id_of = word_ids(assets["embedded"], lowercase=options.lowercase)
    spelling_of = spell(assets["characters"], options.max_characters)
    spelling = {"spelling_of": spelling_of, "max_characters": options.max_characters}
  seen = frozenset(assets["words"])
  return lambda words: encode(
      words, max_length=options.max_length, id_of=id_of, seen=seen, **spelling
  )


def encode(
    words: Sequence[Sequence[str]],
    *,
    max_length: int,
    id_of: Callable[[str], int],
    seen: frozenset[str],
    spelling_of: Callable[[str], list[int]] | None = None,
    max_characters: int = 0,
) -> dict[str, np.ndarray]:
  """Sentences as rows of max_length words, padded with zeros.

  Args:
    words: of N sentences, each with at most T = max_length words.
    max_length: T.
    id_of: of a word.
    seen: the words of the training set.
    spelling_of: of a word, at most C = max_characters ids; None for no characters.
    max_characters: C.

  Returns:
    "ids" int32 (N, T), "seen" bool (N, T), "lengths" int32 (N,), and "characters" uint8 (N, T, C).
  """
  kinds = {word for row in words for word in row}
  known = {word: (id_of(word), word in seen) for word in kinds}
  ids, flags = (np.zeros((len(words), max_length), dtype) for dtype in (np.int32, bool))
  arrays = {"ids": ids, "seen": flags, "lengths": np.array([*map(len, words)], np.int32)}
  for i, row in enumerate(words):
    ids[i, : len(row)], flags[i, : len(row)] = zip(*map(known.get, row))
  if spelling_of:
    spellings = {word: np.zeros(max_characters, np.uint8) for word in kinds}
    for word, spelling in spellings.items():
      found = spelling_of(word)
      spelling[: len(found)] = found
    arrays["characters"] = np.zeros((*ids.shape, max_characters), np.uint8)
    for i, row in enumerate(words):
      arrays["characters"][i, : len(row)] = [spellings[word] for word in row]
  return arrays


def labels(name: str, part: Tagged, tags: Sequence[str], max_length: int) -> np.ndarray:
  """The tags as int32 (N, max_length), UNSEEN where a tag is not among `tags`, 0 in the padding.

  Says once how many words have such a tag: no tagger can find it.

  Args:
    name: of the split, for that line.
    part: N sentences.
    tags: those of the training set.
    max_length: words of a row.
  """
  ids = {tag: i for i, tag in enumerate(tags)}
  found = np.zeros((len(part), max_length), np.int32)
  for i, row in enumerate(part.tags):
    found[i, : len(row)] = [ids.get(tag, UNSEEN) for tag in row]
  if count := int((found == UNSEEN).sum()):
    names = sorted({tag for row in part.tags for tag in row} - set(tags))
    shown = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    processes.notice(
        f"{name}: {count} words have tags that training has not, and count as errors: {shown}"
    )
  return found
