"""Documents as arrays: rows of token ids, batches of similar length, word dropout."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import tokenizers

from dlx.data import batches, bucketing, tokens
from dlx.data.documents import Documents
from dlx.errors import UserError


def encode(
    tokenizer: tokenizers.Tokenizer, part: Documents, max_length: int
) -> dict[str, np.ndarray]:
  """The examples of a split, sorted by length: "ids", "lengths", "labels" and "text"."""
  ids, lengths = tokens.encode(tokenizer, part.texts, max_length)
  text = np.array(part.texts, object)
  arrays = {"ids": ids, "lengths": lengths, "labels": part.labels, "text": text}
  return bucketing.sort_by_length(arrays)


def make_reader(tokenizer: tokenizers.Tokenizer, max_length: int) -> Callable:
  """`read(lines) -> {"ids", "lengths"}` of documents, which raises UserError if one is empty."""

  def read(lines: Sequence[str]) -> dict[str, np.ndarray]:
    if not all(line.strip() for line in lines):
      raise UserError("a document is empty; give its text, in quotes or on a line of the file")
    ids, lengths = tokens.encode(tokenizer, lines, max_length)
    return {"ids": ids, "lengths": lengths}

  return read


def word_dropout(rng, ids, lengths, *, rate: float, unknown: int):
  """ids with a random fraction of the tokens replaced; [CLS] and [SEP] stay."""
  position = jnp.arange(ids.shape[1])
  inner = (position > 0) & (position < lengths[:, None] - 1)
  return jnp.where(jax.random.bernoulli(rng, rate, ids.shape) & inner, unknown, ids)


def make_batch_fn(tokenizer: tokenizers.Tokenizer, options) -> Callable:
  """`batch_fn` of a Task: "ids", with dropped words, and the other numbers of the examples.

  Args:
    tokenizer: of the ids.
    options: batch_size and word_dropout, the rate.
  """
  unknown = tokenizer.token_to_id(tokens.UNKNOWN)

  def batch_fn(train, step, rngs):
    count, size = len(train["ids"]), options.batch_size
    indices, _ = batches.by_length(rngs.run, step, num_examples=count, batch_size=size)
    batch = {name: array[indices] for name, array in train.items()}
    ids = word_dropout(
        rngs.step, batch["ids"], batch["lengths"], rate=options.word_dropout, unknown=unknown
    )
    return {**batch, "ids": ids}

  return batch_fn


def names(
    tokenizer: tokenizers.Tokenizer, lines: Sequence[str], max_length: int
) -> list[list[str]]:
  """The tokens of each row of `make_reader`'s ids, spelled as in the line; [CLS] and [SEP]."""
  rows = []
  for line in lines:
    found = tokenizer.encode(line)
    spelled = [line[i:j] or token for (i, j), token in zip(found.offsets, found.tokens)]
    rows.append(list(tokens.truncate(spelled, max_length)))
  return rows
