"""Vocabularies of language models: characters, words or byte pairs of a text as ids.

  vocabulary   an id is                              unseen text
  Characters   a character                           is an error
  Words        a word between white space            becomes <unk>, as all rare words
  BytePairs    a sequence of bytes that often occur  is split further, into single bytes at most

All have `encode`, `decode`, `encode_prompt`, `assets` and a length.
"""

import collections
from collections.abc import Iterable, Sequence
import re

import numpy as np
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from dlx.data import expect, tokens
from dlx.errors import UserError

KINDS = ("characters", "words", "byte_pairs")
UNKNOWN = "<unk>"
NUM_BYTES = 256


def learn(kind: str, text: str, vocab_size: int | None = None):
  """The vocabulary of a training text.

  Args:
    kind: one of KINDS.
    text: the training text, for characters with all other splits.
    vocab_size: the maximum number of words or byte pairs.

  Raises:
    UserError: there are not two different ids.
  """
  if kind == "characters":
    vocabulary = Characters(text)
  elif kind == "words":
    vocabulary = Words.most_frequent(text, vocab_size)
  else:
    vocabulary = BytePairs.train(text, vocab_size)
  if len(vocabulary) < 2:
    raise UserError(f"the text has only one of {kind}; expected at least two different ones")
  return vocabulary


def of(assets: dict):
  """The vocabulary with these `assets`.

  Raises:
    KeyError, TypeError, ValueError: they are not those of a vocabulary.
  """
  if "characters" in assets:
    return Characters("".join(expect.names("characters", list(assets["characters"]))))
  if "words" in assets:
    return Words(expect.names("words", assets["words"]))
  text = assets["byte_pairs"]
  with tokens.errors_of("byte_pairs"):
    return BytePairs(tokenizers.Tokenizer.from_str(text))


class Characters:
  """The characters of a corpus in sorted order; an id is an index into them."""

  unit = "character"

  def __init__(self, characters: Iterable[str]):
    self.characters = "".join(sorted(set(characters)))
    self._code_points = np.array([ord(c) for c in self.characters], np.uint32)

  def __len__(self) -> int:
    return len(self.characters)

  @property
  def assets(self) -> dict:
    """JSON values that `of` makes the vocabulary of."""
    return {"characters": self.characters}

  @property
  def first(self) -> str:
    """A character to start a sample with: the newline if there is one, else the first."""
    return "\n" if "\n" in self.characters else self.characters[0]

  def encode(self, text: str) -> tuple[np.ndarray, None]:
    """(int32 ids of `text`, None: each is one character).

    Raises:
      UserError: a character is not in the vocabulary.
    """
    # A byte of the command line that is not UTF-8 is a surrogate, which no vocabulary has.
    code_points = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    ids = np.searchsorted(self._code_points, code_points)
    ids = np.minimum(ids, len(self) - 1)
    unseen = self._code_points[ids] != code_points
    if unseen.any():
      character = text[int(unseen.argmax())]
      raise UserError(
          f"the character {character!r} (U+{ord(character):04X}) is not among the "
          f"{len(self)} characters of the training text; leave it out"
      )
    return ids.astype(np.int32), None

  def encode_prompt(self, text: str) -> np.ndarray:
    """The ids of a prompt, of `first` if it is empty."""
    return self.encode(text or self.first)[0]

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids."""
    return "".join(self.characters[i] for i in ids)


class Words:
  """The most frequent words of a text; all others are <unk>, the id 0.

  A word is what stands between white space, so punctuation is a part of its word unless the
  text separates it.
  """

  unit = "word"

  def __init__(self, words: Sequence[str]):
    self.words = list(words)
    self._ids = {word: i for i, word in enumerate(self.words)}

  @classmethod
  def most_frequent(cls, text: str, vocab_size: int) -> "Words":
    """<unk> and the vocab_size - 1 most frequent words; of equally frequent ones, a before b."""
    counts = sorted(collections.Counter(text.split()).items(), key=lambda item: (-item[1], item[0]))
    words = [word for word, _ in counts if word != UNKNOWN]
    return cls([UNKNOWN, *words[: vocab_size - 1]])

  def __len__(self) -> int:
    return len(self.words)

  @property
  def assets(self) -> dict:
    """JSON values that `of` makes the vocabulary of."""
    return {"words": self.words}

  def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
    """int32 (ids of the words, characters of each word with the white space before it)."""
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    ids = np.array([self._ids.get(text[a:b], 0) for a, b in spans], np.int32)
    return ids, np.diff([0, *(end for _, end in spans)]).astype(np.int32)

  def encode_prompt(self, text: str) -> np.ndarray:
    """The ids of a prompt, of <unk> if it is empty.

    Raises:
      UserError: a word is not in the vocabulary.
    """
    for word in text.split():
      if word not in self._ids:
        raise UserError(
            f"the word {word!r} is not among the {len(self)} words of the vocabulary; leave it "
            f"out, or write {UNKNOWN} in its place"
        )
    return self.encode(text or UNKNOWN)[0]

  def decode(self, ids: Iterable[int]) -> str:
    """The words, each after a space."""
    return "".join(f" {self.words[i]}" for i in ids)


class BytePairs:
  """Byte-pair encoding of the bytes of a text: every text is a sequence of ids, and back.

  Source: Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword units"
    (2016); Radford et al., "Language models are unsupervised multitask learners" (2019) for
    bytes instead of characters.
  """

  unit = "byte pair"

  def __init__(self, tokenizer: tokenizers.Tokenizer):
    self._tokenizer = tokenizer

  @classmethod
  def train(cls, text: str, vocab_size: int) -> "BytePairs":
    """Merges the most frequent pair of adjacent ids until there are vocab_size of them.

    Raises:
      UserError: vocab_size is below the number of bytes.
    """
    if vocab_size < NUM_BYTES:
      raise UserError(f"vocab_size: expected at least the {NUM_BYTES} bytes, got {vocab_size}")
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer = tokenizers.Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
    return cls(tokenizer)

  def __len__(self) -> int:
    return self._tokenizer.get_vocab_size()

  @property
  def assets(self) -> dict:
    """JSON values that `of` makes the vocabulary of."""
    return {"byte_pairs": self._tokenizer.to_str()}

  def encode(self, text: str) -> tuple[np.ndarray, np.ndarray]:
    """int32 (ids, characters that end in each).

    Raises:
      UserError: the text has a surrogate, as Python's strings have for bytes that are not UTF-8.
    """
    try:
      lines = self._tokenizer.encode_batch(text.splitlines(keepends=True))
    except TypeError:
      raise UserError(f"{text!r:.60} is not valid UTF-8; convert it") from None
    ids = [np.array(line.ids, np.int32) for line in lines]
    ends = [np.array([0, *(end for _, end in line.offsets)]) for line in lines]
    # The bytes of one character share its offsets.
    characters = [np.diff(np.maximum.accumulate(x)).astype(np.int32) for x in ends]
    empty = [np.zeros(0, np.int32)]
    return np.concatenate(ids or empty), np.concatenate(characters or empty)

  def encode_prompt(self, text: str) -> np.ndarray:
    """The ids of a prompt, of a newline if it is empty."""
    return self.encode(text or "\n")[0]

  def decode(self, ids: Iterable[int]) -> str:
    """The text of ids."""
    return self._tokenizer.decode([int(i) for i in ids])
