"""T5's objective: spans of a document hidden by sentinels, which the target names.

  document  the plot was dull and her acting was great
  source    the plot <extra_id_0> and her acting <extra_id_1>
  target    <extra_id_0> was dull <extra_id_1> was great

The ids of sentinels follow those of the vocabulary (dlx.data.pairs.Tokens); END closes both.

Source: Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text
  transformer" (2020), section 3.1.4.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int
import numpy as np

from dlx.data import bucketing, documents, pairs
from dlx.data.split import Splits
from dlx.errors import UserError
from dlx.experiment import Data


def load(options, assets: dict | None = None) -> Data:
  """Documents whose spans are hidden anew in each epoch, by `draw`; held-out ones once.

  Args:
    options: config.data, with the keys of dlx.data.pair_settings.
    assets: of a run, with its vocabulary and its number of sentinels; None to make them.

  Returns:
    Data with "ids" (D, T - 1) and "lengths" (D,) for training, see `encode`; validation and test
    have the arrays of dlx.data.pairs.

  Raises:
    UserError: the documents cannot be read, a split has none of two tokens, or the assets have
      fewer sentinels than spans.
  """
  texts = documents.load_texts(
      options.documents, file=options.documents_file, text_column=options.text_column,
      num_validation=options.num_validation,
  )  # fmt: skip
  texts = Splits(*([pairs.normalized(t, options.lowercase) for t in part] for part in texts))
  sentinels = int(counts(options.max_length - 1, **rates(options))[1].max())
  if assets is None:
    vocabulary = pairs.learn_vocabulary(options.source_tokens, texts, options.vocab_size)
    assets = {"source": vocabulary, "target": vocabulary, "sentinels": sentinels}
  elif sentinels > (known := assets.get("sentinels", 0)):
    raise UserError(
        f"init_from: its run has {known} sentinels, but span_rate, span_length and max_length need "
        f"{sentinels}"
    )
  tokens, _ = pairs.tokens_of(assets)
  train, *held_out = (
      encode(tokens, part, options.max_length, name)
      for name, part in zip(("training", "validation", "test"), texts)
  )
  fixed = []
  for part in held_out:
    drawn = draw(jax.random.key(0), part["ids"], part["lengths"], tokens=tokens, **rates(options))
    arrays = {name: np.asarray(array) for name, array in drawn.items()}
    for side in ("source", "target"):
      arrays[f"{side}_text"] = np.array([tokens.decode(row) for row in arrays[side]], object)
    fixed.append(bucketing.sort_by_length(arrays))
  return Data(train, *fixed, assets=assets)


def rates(options) -> dict[str, float]:
  """The options rate and mean_length of `draw`, of config.data."""
  return {"rate": options.span_rate, "mean_length": options.span_length}


def encode(
    tokens: pairs.Tokens, texts: Sequence[str], max_length: int, name: str
) -> dict[str, np.ndarray]:
  """{"lengths" (D,), "ids" (D, T - 1)} of texts, sorted by length.

  A text of more than T - 1 tokens becomes several documents, so that a source of T ids has room
  for END; those of one token are left out.

  Raises:
    UserError: none is left of the split `name`.
  """
  size, found = max_length - 1, []
  for text in texts:
    ids = tokens.encode(text)[:-1]
    found += [ids[start : start + size] for start in range(0, len(ids) - 1, size)]
  if not found:
    raise UserError(f"no {name} document has two tokens; give longer ones")
  rows = np.full((len(found), size), pairs.PAD, np.int32)
  for row, ids in zip(rows, found):
    row[: len(ids)] = ids
  lengths = np.array([len(ids) for ids in found], np.int32)
  return bucketing.sort_by_length({"lengths": lengths, "ids": rows})


def counts(longest: int, *, rate: float, mean_length: float) -> tuple[np.ndarray, np.ndarray]:
  """The numbers of hidden tokens and of spans in documents of 0, 1, ..., `longest` tokens.

  rate n and rate n / mean_length, rounded; at least one token is hidden and one is not, and each
  span follows a token that is not. Documents of no or one token have no span.
  """
  lengths = np.arange(2, longest + 1)
  hidden = np.clip(np.round(rate * lengths), 1, lengths - 1)
  spans = np.clip(np.round(hidden / mean_length), 1, np.minimum(hidden, lengths - hidden))
  return tuple(np.concatenate([[0, 0], x]).astype(np.int32) for x in (hidden, spans))


def draw(
    rng: jax.Array,
    ids: Int[Array, "B L"],
    lengths: Int[Array, "B"],
    *,
    tokens: pairs.Tokens,
    rate: float,
    mean_length: float,
) -> dict[str, Array]:
  """Sources and targets of documents: {"source" (B, S), "target" (B, T), "lengths" (B,)}.

  Tokens that are hidden and those that are not are divided into as many spans, each division
  equally probable; they alternate, and the last one is hidden, as in T5's code.

  Args:
    rng: a typed key.
    ids: of the documents, padded.
    lengths: of the documents, two or more.
    tokens: with the ids of the sentinels.
    rate: the fraction of tokens to hide.
    mean_length: of the spans.

  Returns:
    rows with END, as wide as the longest that L tokens can have, and the larger of both lengths.
  """
  ids, lengths = jnp.asarray(ids), jnp.asarray(lengths)
  inside = bucketing.token_mask(ids, lengths)
  hidden, begins = _hidden_spans(rng, ids.shape[1], lengths, rate, mean_length)
  kept, hidden = inside & ~hidden, inside & hidden
  sentinel = tokens.first_sentinel + jnp.cumsum(begins, -1, jnp.int32) - 1
  sides = {
      # Which tokens of the document have an id in this side, the ids, and which ones have a
      # sentinel before theirs.
      "source": (kept | begins, jnp.where(begins, sentinel, ids), jnp.zeros_like(begins)),
      "target": (hidden, ids, begins),
  }
  found, sizes = {}, []
  rows, longest = jnp.arange(len(ids))[:, None], ids.shape[1]
  num_hidden, num_spans = counts(longest, rate=rate, mean_length=mean_length)
  num_tokens = {"source": np.arange(longest + 1) - num_hidden, "target": num_hidden}
  for side, (written, values, preceded) in sides.items():
    width = int((num_tokens[side] + num_spans).max()) + 1  # As an index: nowhere.
    place = jnp.cumsum(written.astype(jnp.int32) + preceded, -1) - 1
    size = place[:, -1] + 1
    row = jnp.full((len(ids), width), pairs.PAD, jnp.int32)
    row = row.at[rows, jnp.where(written, place, width)].set(values, mode="drop")
    row = row.at[rows, jnp.where(preceded, place - 1, width)].set(sentinel, mode="drop")
    found[side] = row.at[rows[:, 0], size].set(pairs.END)
    sizes.append(size + 1)
  return {**found, "lengths": jnp.maximum(*sizes)}


def _hidden_spans(
    rng, width: int, lengths, rate: float, mean_length: float
) -> tuple[Bool[Array, "B L"], Bool[Array, "B L"]]:
  """(True at hidden tokens, True at the first token of each span)."""
  table = counts(width, rate=rate, mean_length=mean_length)
  hidden, spans = (jnp.asarray(column)[lengths] for column in table)
  most = int(table[1].max())
  keep_rng, hide_rng = jax.random.split(rng)
  keep = _division(keep_rng, lengths - hidden, spans, width, most)
  hide = _division(hide_rng, hidden, spans, width, most)
  ends = jnp.cumsum(keep + hide, -1)
  starts = ends - hide
  at, valid = jnp.arange(width)[:, None], jnp.arange(most) < spans[:, None]
  within = (at >= starts[:, None]) & (at < ends[:, None]) & valid[:, None]
  return within.any(-1), ((at == starts[:, None]) & valid[:, None]).any(-1)


def _division(rng, total, parts, width: int, most: int) -> Int[Array, "B K"]:
  """The sizes of `parts` (B,) non-empty parts of `total` (B,) items, in K columns.

  Which of the total - 1 gaps between items divide parts is uniform.
  """
  gaps = jnp.arange(width - 1) < total[:, None] - 1
  draws = jnp.where(gaps, jax.random.uniform(rng, gaps.shape), 2.0)
  ranks = jnp.argsort(jnp.argsort(draws, -1), -1)
  divides = gaps & (ranks < parts[:, None] - 1)
  part = jnp.pad(jnp.cumsum(divides, -1, jnp.int32), ((0, 0), (1, 0)))
  items = jnp.arange(width) < total[:, None]
  return ((part[..., None] == jnp.arange(most)) & items[..., None]).sum(1, jnp.int32)
