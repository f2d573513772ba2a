"""Next sentence prediction: [CLS] A [SEP] B [SEP], where B follows A in a document, or does not.

  split   where the sentences of a document begin
  encode  documents as one row of tokens, with the places between two sentences
  draw    pairs of such documents, on the device

Source: Devlin et al., "BERT" (2019), section 3.1, task 2.
"""

from collections.abc import Sequence
import itertools
import re

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np
import tokenizers

from dlx.data import tokens
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Arrays

# The end of a sentence, with closing quotes and brackets, or a line break, which IMDB writes as
# <br />; and what is blank after it.
_BLANK = r"(?:\s|<br ?/?>)"
_END = re.compile(rf"""[.!?]["')\]]*{_BLANK}+|(?:\n|<br ?/?>){_BLANK}*""")


def split(text: str) -> list[int]:
  """The indices of the characters that begin a sentence, without the first sentence.

  A sentence ends at ".", "!" or "?" before white space, and at a line break. Abbreviations
  ("Mr. Smith") are split as well.
  """
  return [match.end() for match in _END.finditer(text)]


def encode(
    tokenizer: tokenizers.Tokenizer, texts: Sequence[str], max_length: int
) -> dict[str, np.ndarray]:
  """Documents of two or more sentences as one row of tokens; the others are left out.

  Args:
    tokenizer: of the encoder.
    texts: the documents.
    max_length: the documents are sorted by their number of tokens, up to this one.

  Returns:
    int32 arrays: "starts" and "ends" (D,) of the documents in "tokens" (N,), and "first_cut" and
    "num_cuts" (D,) of their places in "cuts" (C,), indices of tokens that begin a sentence.

  Raises:
    UserError: fewer than two documents have two sentences.
  """
  found = []
  for text, encoding in zip(texts, tokens.encodings(tokenizer, texts, special=False)):
    ends = [end for _, end in encoding.offsets]
    # The first token that ends beyond the first character of a sentence.
    cuts = np.unique(np.searchsorted(ends, split(text), side="right"))
    cuts = cuts[(cuts > 0) & (cuts < len(ends))]
    if len(cuts):
      found.append((encoding.ids, cuts))
  if len(found) < 2:
    raise UserError(
        f"{len(found)} of {len(texts)} documents have two or more sentences; pairs of sentences "
        f"need at least two"
    )
  if left_out := len(texts) - len(found):
    processes.notice(f"{left_out} of {len(texts)} documents have one sentence, and are left out")
  found.sort(key=lambda document: min(len(document[0]), max_length))  # Stable.
  ids, cuts = zip(*found)
  ends, end_cuts = (np.cumsum([len(x) for x in each]) for each in (ids, cuts))
  starts, first_cuts = (np.array([0, *x[:-1]]) for x in (ends, end_cuts))
  arrays = {
      "starts": starts, "ends": ends, "first_cut": first_cuts, "num_cuts": end_cuts - first_cuts,
      "cuts": np.concatenate(cuts) + np.repeat(starts, end_cuts - first_cuts),
      "tokens": list(itertools.chain.from_iterable(ids)),
  }  # fmt: skip
  return {name: np.array(array, np.int32) for name, array in arrays.items()}


def draw(
    rng: jax.Array,
    documents: Arrays,
    indices: Int[Array, "B"],
    *,
    max_length: int,
    first: int,
    last: int,
) -> dict[str, Array]:
  """A pair of each of B documents: [CLS] A [SEP] B [SEP].

  A place between two sentences of the document is drawn; A are the tokens before it. B are those
  after it, or with probability 1/2 those after the place of the next document of the batch, whose
  B has the same distribution. Where both have more than T - 3 tokens, the longer loses those
  farthest from the place.

  Args:
    rng: a typed key.
    documents: of `encode`.
    indices: of the documents, all different, two or more.
    max_length: T.
    first, last: the ids of [CLS] and [SEP].

  Returns:
    "ids" (B, T) int32, padded with 0, "lengths" (B,), "second" (B,), the index of B's first
    token, and "is_next" (B,) bool.
  """
  cut_rng, next_rng = jax.random.split(rng)
  documents = {name: jnp.asarray(array) for name, array in documents.items()}
  start, end, first_cut, num_cuts = (
      documents[name][indices] for name in ("starts", "ends", "first_cut", "num_cuts")
  )
  draws = jax.random.randint(cut_rng, indices.shape, 0, num_cuts, jnp.int32)
  cut = documents["cuts"][first_cut + draws]
  is_next = jax.random.bernoulli(next_rng, 0.5, indices.shape)
  second_cut, second_end = (jnp.where(is_next, x, jnp.roll(x, -1)) for x in (cut, end))
  room, before, after = max_length - 3, cut - start, second_end - second_cut
  a = jnp.minimum(before, jnp.maximum(room // 2, room - after))
  b = jnp.minimum(after, room - a)
  a, b, cut, second_cut = (x[:, None] for x in (a, b, cut, second_cut))
  at = jnp.arange(max_length)
  ids = jnp.select(
      [at == 0, at <= a, at == a + 1, at <= a + 1 + b, at == a + b + 2],
      [first, documents["tokens"][cut - a + at - 1], last,
       documents["tokens"][second_cut + at - a - 2], last],
      0,
  )  # fmt: skip
  second = a[:, 0] + 2
  return {"ids": ids, "lengths": second + b[:, 0] + 1, "second": second, "is_next": is_next}


def fixed(documents: Arrays, **options) -> dict[str, np.ndarray]:
  """One pair of each document, always the same, for evaluation; options as for `draw`."""
  indices = jnp.arange(len(documents["starts"]))
  found = draw(jax.random.key(0), documents, indices, **options)
  return {name: np.asarray(array) for name, array in found.items()}
