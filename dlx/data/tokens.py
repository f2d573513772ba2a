"""Subword tokens: training a tokenizer, and documents as padded rows of ids."""

from collections.abc import Iterable, Iterator, Sequence
import contextlib
import pathlib

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from dlx.errors import UserError

PAD, UNKNOWN, FIRST, LAST, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def train_bpe(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True
) -> tokenizers.Tokenizer:
  """Trains byte-pair encoding: the most frequent pair of adjacent tokens is merged, repeatedly.

  Deterministic, unlike the library's WordPiece trainer, which breaks ties in an order that
  differs between runs.

  Args:
    texts: the training documents.
    vocab_size: the maximum number of tokens, including the five of SPECIAL (the first ids).
    lowercase: convert to lower case and strip accents.

  Returns:
    A tokenizer that adds [CLS] before a document and [SEP] after it.

  Raises:
    UserError: vocab_size leaves no room for a character.

  Source: Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword
    units" (2016).
  """
  trainer = trainers.BpeTrainer(
      vocab_size=_expect_room(vocab_size), special_tokens=list(SPECIAL), show_progress=False
  )
  return _trained(models.BPE(unk_token=UNKNOWN), trainer, texts, lowercase)


def train_words(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True
) -> tokenizers.Tokenizer:
  """A tokenizer whose tokens are whole words: the most frequent ones, others are [UNK].

  Words are separated by white space, and punctuation marks are words; arguments, result and
  errors are those of `train_bpe`.
  """
  trainer = trainers.WordLevelTrainer(
      vocab_size=_expect_room(vocab_size), special_tokens=list(SPECIAL), show_progress=False
  )
  return _trained(models.WordLevel(unk_token=UNKNOWN), trainer, texts, lowercase)


def of_words(words: Sequence[str], *, lowercase: bool = True) -> tokenizers.Tokenizer:
  """The tokenizer of `train_words` whose `words` are these."""
  vocab = {token: i for i, token in enumerate((*SPECIAL, *words))}
  tokenizer = _splitting(models.WordLevel(vocab, unk_token=UNKNOWN), lowercase)
  tokenizer.add_special_tokens(list(SPECIAL))
  return _framing(tokenizer)


def _expect_room(vocab_size: int) -> int:
  if vocab_size <= len(SPECIAL):
    raise UserError(
        f"vocab_size: expected more than the {len(SPECIAL)} special tokens (100 or more are "
        f"useful), got {vocab_size}"
    )
  return vocab_size


def _trained(model, trainer, texts: Iterable[str], lowercase: bool) -> tokenizers.Tokenizer:
  tokenizer = _splitting(model, lowercase)
  tokenizer.train_from_iterator(texts, trainer)
  return _framing(tokenizer)


def _splitting(model, lowercase: bool) -> tokenizers.Tokenizer:
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  return tokenizer


def _framing(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
  ends = [(token, tokenizer.token_to_id(token)) for token in (FIRST, LAST)]
  tokenizer.post_processor = processors.TemplateProcessing(f"{FIRST} $A {LAST}", None, ends)
  return tokenizer


def load(path: str | pathlib.Path) -> tokenizers.Tokenizer:
  """Reads a tokenizer.json, for example that of a published encoder.

  Its truncation and padding are turned off, since `encode` does both.

  Raises:
    UserError: the file does not exist or is not a tokenizer that works, or lacks one
      of SPECIAL, or [PAD] is not 0.
  """
  path = pathlib.Path(path)
  if not path.exists():
    raise UserError(f"{path} does not exist; expected a tokenizer.json")
  try:
    text = path.read_text(encoding="utf-8")
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f"{path} cannot be read: {e}") from None
  return _parse(text, path)


def from_json(text: str) -> tokenizers.Tokenizer:
  """The tokenizer that `to_json` serialized, or the content of a tokenizer.json; see `load`.

  Raises:
    UserError: see `load`.
  """
  return _parse(text, "the JSON text")


def to_json(tokenizer: tokenizers.Tokenizer) -> str:
  """The tokenizer as JSON, the format of tokenizer.json."""
  return tokenizer.to_str()


def _parse(text: str, name) -> tokenizers.Tokenizer:
  with errors_of(name):
    tokenizer = tokenizers.Tokenizer.from_str(text)
    tokenizer.encode("a \u2603")  # Some mistakes show only here: an unknown token that is missing.
  if tokenizer.token_to_id(PAD) != 0:
    raise UserError(f"{name}: expected id 0 for {PAD}, got {tokenizer.token_to_id(PAD)}")
  if missing := [token for token in SPECIAL if tokenizer.token_to_id(token) is None]:
    raise UserError(f"{name} has no token {', '.join(missing)}")
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return tokenizer


@contextlib.contextmanager
def errors_of(name) -> Iterator[None]:
  """Raises the errors of the library as UserError; a panic of its Rust code is no Exception."""
  try:
    yield
  except BaseException as e:
    if not isinstance(e, Exception) and type(e).__name__ != "PanicException":
      raise
    raise UserError(f"{name} is not a tokenizer that works: {e}") from None


def num_ids(tokenizer: tokenizers.Tokenizer) -> int:
  """The largest id of a token plus 1: the rows that its embedding needs at least."""
  return 1 + max(tokenizer.get_vocab().values())


def words(tokenizer: tokenizers.Tokenizer) -> list[str]:
  """The tokens behind those of SPECIAL, in the order of their ids, of a tokenizer trained here."""
  vocab = tokenizer.get_vocab()
  return sorted(vocab, key=vocab.get)[len(SPECIAL) :]


def truncate(items: Sequence, max_length: int) -> Sequence:
  """Keeps max_length items: the first quarter of them from the start, the rest from the end.

  The end of a review usually carries the verdict.

  Source: Sun, Qiu, Xu, Huang, "How to fine-tune BERT for text classification?" (2019),
    section 5.3.1, for keeping both ends.
  """
  if len(items) <= max_length:
    return items
  head = max_length // 4
  return items[:head] + items[head - max_length :]


def encodings(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], *, special: bool = True
) -> list[tokenizers.Encoding]:
  """The tokens of documents, with [CLS] and [SEP] if `special`.

  Raises:
    UserError: a document has a surrogate, as Python's strings have for bytes that are not UTF-8.
  """
  try:
    return tokenizer.encode_batch(list(texts), add_special_tokens=special)
  except TypeError:
    wrong = [text for text in texts if any("\ud800" <= c <= "\udfff" for c in text)]
    if not wrong:
      raise
    raise UserError(f"{wrong[0]!r:.60} is not valid UTF-8; convert it") from None


def encode(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Documents as rows of ids, truncated by `truncate` and padded with 0 to the longest row.

  Args:
    tokenizer: with 0 as the id of [PAD].
    texts: N documents; an empty one becomes [CLS] [SEP].
    max_length: the maximum length of a row, including [CLS] and [SEP].

  Returns:
    (ids int32 (N, longest), lengths int32 (N,)).

  Raises:
    UserError: see `encodings`.
  """
  rows = [truncate(encoding.ids, max_length) for encoding in encodings(tokenizer, texts)]
  lengths = np.array([len(ids) for ids in rows], np.int32)
  padded = np.zeros((len(rows), max(lengths, default=0)), np.int32)
  for row, ids in zip(padded, rows):
    row[: len(ids)] = ids
  return padded, lengths
