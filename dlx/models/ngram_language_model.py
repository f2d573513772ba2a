"""The probabilities of an n-gram language model on the device, from the tables of its n-grams.

An n-gram is an index into the table of its order. It is found by its context, the n-gram of its
first n - 1 tokens, and its last token: a binary search among the n-grams of that context.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

UNSEEN = -1  # An n-gram that is not in the table,
BEFORE = -2  # and one that would begin before the text; also the id of a token before it.


def log_probabilities(
    tables: Sequence[dict[str, Array]], ids: Int[Array, "... T"], *, method: str
) -> Float[Array, "... T"]:
  """log p of each token given those before it, as many as the order allows.

  Args:
    tables: of dlx.models.ngram_smoothing.tables.
    ids: a text, or several; BEFORE where they begin later, for which the result has no meaning.
    method: of the tables.
  """
  contexts, ngrams = _read(tables, ids, empty(len(tables), ids.shape[:-1]))
  return jnp.log(_probabilities(tables, contexts, ngrams, method))


def empty(order: int, batch_shape: tuple[int, ...] = ()) -> Int[Array, "... n-1"]:
  """The state before the first token of a text, or of several; see `read`."""
  return jnp.full((*batch_shape, order - 1), BEFORE, jnp.int32)


def read(
    tables: Sequence[dict[str, Array]], ids: Int[Array, "... T"], state: Int[Array, "... n-1"]
) -> Int[Array, "... T n-1"]:
  """The states after each token: the n-grams of the orders 1 to n - 1 that end there.

  Args:
    tables: of a model of order n.
    ids: the tokens.
    state: that before the first token.
  """
  _, ngrams = _read(tables, ids, state)
  shorter = ngrams[: len(tables) - 1]
  return jnp.stack(shorter, -1) if shorter else empty(1, ids.shape)


def next_logits(
    tables: Sequence[dict[str, Array]], states: Int[Array, "... n-1"], *, method: str
) -> Float[Array, "... V"]:
  """log p of each token of the vocabulary as the next one; arguments as above."""
  ids = jnp.arange(len(tables[0]["probabilities"]), dtype=jnp.int32)
  ids = jnp.broadcast_to(ids, (*states.shape[:-1], len(ids)))
  contexts = [context[..., None] for context in jnp.moveaxis(states, -1, 0)]
  ngrams = [ids, *(find(table, context, ids) for table, context in zip(tables[1:], contexts))]
  return jnp.log(_probabilities(tables, contexts, ngrams, method))


def lookup(
    tables: Sequence[dict[str, Array]], ids: Int[Array, "... T"]
) -> list[Int[Array, "... T"]]:
  """The n-gram of each order, from 1 to n, that ends at each token; UNSEEN or BEFORE without one.

  Args:
    tables: of each order, of which "words" and "starts" are read.
    ids: texts; UNSEEN for a token that the tables do not have.
  """
  return _read(tables, ids, empty(len(tables), ids.shape[:-1]))[1]


def find(
    table: dict[str, Array], contexts: Int[Array, "..."], ids: Int[Array, "..."]
) -> Int[Array, "..."]:
  """The n-grams of contexts and last tokens, which broadcast; UNSEEN, or BEFORE as the context."""
  contexts, ids = jnp.broadcast_arrays(contexts, ids)
  words, starts, known = jnp.asarray(table["words"]), jnp.asarray(table["starts"]), contexts >= 0
  first, end = (jnp.where(known, starts[contexts + i], 0) for i in (0, 1))

  def halve(bounds):
    low, high = bounds
    middle = (low + high) // 2
    right = words[middle] < ids
    return (
        jnp.where((low < high) & right, middle + 1, low),
        jnp.where((low < high) & ~right, middle, high),
    )

  low, _ = jax.lax.while_loop(lambda bounds: (bounds[0] < bounds[1]).any(), halve, (first, end))
  found = (low < end) & (words[low] == ids)
  return jnp.where(found, low, jnp.where(contexts == BEFORE, BEFORE, UNSEEN))


def _read(tables, ids, state):
  """(contexts, n-grams) of every token, one array for each order; unigrams have no context."""
  contexts, ngrams = [], [ids]
  for i, table in enumerate(tables[1:]):
    contexts.append(jnp.concatenate([state[..., i, None], ngrams[-1][..., :-1]], -1))
    ngrams.append(find(table, contexts[-1], ids))
  return contexts, ngrams


def _probabilities(tables, contexts, ngrams, method):
  """p, from the shortest context to the longest; see dlx.models.ngram_smoothing."""
  p = tables[0]["probabilities"][ngrams[0]]
  uniform = 1 / len(tables[0]["probabilities"])
  for table, context, ngram in zip(tables[1:], contexts, ngrams[1:]):
    q = jnp.where(ngram >= 0, table["probabilities"][ngram], 0)
    b = jnp.where(context >= 0, table["lower"][context], 1)
    if method == "kneser_ney":
      p = q + b * p
    elif method == "add_k":  # At the beginning of a text, the longest context that there is.
      p = jnp.where(context == BEFORE, p, q + b * uniform)
    else:
      p = jnp.where(ngram >= 0, q, b * p)
  return p
