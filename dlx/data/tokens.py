"""Subword tokens: a tokenizer learned from texts, and texts as rows of ids."""

from collections.abc import Iterable, Sequence
import pathlib

import numpy as np
import tokenizers
from tokenizers import models, normalizers, pre_tokenizers, processors, trainers

from dlx.errors import UserError

PAD, UNKNOWN, FIRST, LAST, MASK = SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn(
    texts: Iterable[str], vocab_size: int, *, lowercase: bool = True
) -> tokenizers.Tokenizer:
  """Learns subwords (BPE): the pieces that stand together most often become one piece.

  The same texts give the same tokenizer. (The library's WordPiece trainer does not keep
  that promise: it breaks ties by an order that is another one in each run.)

  Args:
    texts: what to learn from; the training texts alone.
    vocab_size: how many pieces at most, the five of SPECIAL included (their ids come first).
    lowercase: and without accents.

  Returns:
    A tokenizer that puts [CLS] before a text and [SEP] behind it.

  Raises:
    UserError: vocab_size has no room for a character.

  Source: Sennrich, Haddow, Birch, "Neural machine translation of rare words with subword
    units" (2016).
  """
  if vocab_size <= len(SPECIAL):
    raise UserError(f"a vocabulary of {vocab_size} tokens is too small; use 100 or more")
  trainer = trainers.BpeTrainer(
      vocab_size=vocab_size, special_tokens=list(SPECIAL), show_progress=False
  )
  tokenizer = tokenizers.Tokenizer(models.BPE(unk_token=UNKNOWN))
  tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
  tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
  tokenizer.train_from_iterator(texts, trainer)
  ends = [(token, tokenizer.token_to_id(token)) for token in (FIRST, LAST)]
  tokenizer.post_processor = processors.TemplateProcessing(f"{FIRST} $A {LAST}", None, ends)
  return tokenizer


def load(path: str | pathlib.Path) -> tokenizers.Tokenizer:
  """Reads a tokenizer.json, which may be that of a published encoder.

  A length that it cuts or pads texts to is left out: `encode` does both.

  Raises:
    UserError: there is none, or it is damaged.
  """
  if not pathlib.Path(path).exists():
    raise UserError(f"{path} does not exist; it is where the tokenizer should be")
  try:
    tokenizer = tokenizers.Tokenizer.from_file(str(path))
  except Exception as e:  # The library raises Exception itself.
    raise UserError(f"{path} is no tokenizer: {e}") from None
  if tokenizer.token_to_id(PAD) != 0:
    raise UserError(f"{path}: {PAD} is {tokenizer.token_to_id(PAD)}; only 0 can be read")
  tokenizer.no_truncation()
  tokenizer.no_padding()
  return tokenizer


def cut(items: Sequence, max_length: int) -> Sequence:
  """The first quarter and the last three quarters of max_length, where there are more.

  A review's verdict tends to stand at its end.

  Source: Sun, Qiu, Xu, Huang, "How to fine-tune BERT for text classification?" (2019),
    section 5.3.1, for keeping both ends.
  """
  if len(items) <= max_length:
    return items
  head = max_length // 4
  return items[:head] + items[head - max_length :]


def encode(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], max_length: int
) -> tuple[np.ndarray, np.ndarray]:
  """Texts as rows of ids, padded with 0 to the longest; `cut` shortens long ones.

  Args:
    tokenizer: with [PAD] as 0.
    texts: any; an empty one has the two tokens around it.
    max_length: of a row, [CLS] and [SEP] included.

  Returns:
    (ids int32 (N, longest), lengths int32 (N,)).
  """
  rows = [cut(encoding.ids, max_length) for encoding in tokenizer.encode_batch(list(texts))]
  lengths = np.array([len(ids) for ids in rows], np.int32)
  padded = np.zeros((len(rows), max(lengths, default=0)), np.int32)
  for row, ids in zip(padded, rows):
    row[: len(ids)] = ids
  return padded, lengths
