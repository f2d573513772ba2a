"""Search for a probable sequence of a model that predicts one token after the other.

Greedy search takes the most probable token at every step, beam search keeps the `width` most
probable beginnings. Both stop when every sequence of the batch has ended.

A step is `step(carry, ids) -> (carry, logits)`. Arrays of the carry begin with the dimensions of
ids, (B,) in greedy search and (B, width) in beam search; scalars are shared by all sequences.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


class Found(NamedTuple):
  """Sequences with their scores.

  Attributes:
    ids: int32 (..., T); the end token is included, and pad follows it.
    scores: (...,), log p(ids) divided by the length penalty. A sequence that did not end within T
      tokens has the score of its T tokens; -inf stands for no sequence.
  """

  ids: Int[Array, "... T"]
  scores: Float[Array, "..."]


def penalty(length: Int[Array, "..."], alpha: float) -> Float[Array, "..."]:
  """The length penalty ((5 + n) / 6)^alpha of n tokens, the end token included.

  Source: Wu et al., "Google's neural machine translation system" (2016), equation 14.
  """
  return ((5.0 + length) / 6.0) ** alpha


def greedy_search(
    step: Callable,
    carry,
    *,
    batch_size: int,
    max_length: int,
    start: int,
    end: int,
    pad: int = 0,
    length_penalty: float = 0.0,
) -> Found:
  """The most probable token at every step: y_t = argmax_v p(v | y_1 ... y_{t-1}).

  Args:
    step: see the module.
    carry: before the first token, with arrays (B, ...).
    batch_size: B.
    max_length: T.
    start: the first input.
    end: the token that ends a sequence.
    pad: follows it in the result.
    length_penalty: alpha of `penalty`, for the scores; it does not change the choice.

  Returns:
    ids (B, T) and scores (B,).
  """

  def advance(state):
    t, last, done, total, ids, carry = state
    carry, logits = step(carry, last)
    best, chosen = _log_top_k(logits, 1)
    chosen = jnp.where(done, pad, chosen[:, 0])
    total = jnp.where(done, total, total + best[:, 0])
    ids = ids.at[:, t].set(chosen)
    return t + 1, chosen, done | (chosen == end), total, ids, carry

  _expect(max_length, 1)
  first = jnp.full((batch_size,), start, jnp.int32)
  dtype = _dtype(step, carry, first)
  ids = jnp.full((batch_size, max_length), pad, jnp.int32)
  state = 0, first, jnp.zeros((batch_size,), bool), jnp.zeros((batch_size,), dtype), ids, carry
  *_, done, total, ids, _ = lax.while_loop(
      lambda state: (state[0] < max_length) & ~state[2].all(), advance, state
  )
  length = jnp.where(done, (ids == end).argmax(-1) + 1, max_length)
  return Found(ids, total / penalty(length, length_penalty))


def beam_search(
    step: Callable,
    carry,
    *,
    batch_size: int,
    width: int,
    max_length: int,
    start: int,
    end: int,
    pad: int = 0,
    length_penalty: float = 0.0,
    num_results: int | None = None,
    reorder: Callable | None = None,
) -> Found:
  """The best of the sequences that are reached by the `width` most probable beginnings.

  Of the K V continuations of K beginnings, those among the K most probable that end are
  complete, and the K most probable others continue. A search ends with K complete sequences, or
  after T tokens, when the beginnings themselves count, too; earlier where R sequences are complete
  and no beginning can become better than these. Width 1 is `greedy_search`; with a width of at
  least the number of all sequences the best one is found.

  Args:
    step: see the module.
    carry: before the first token, with arrays (B, ...).
    batch_size: B.
    width: K.
    max_length, start, end, pad: as for `greedy_search`.
    length_penalty: alpha of `penalty`. Complete sequences are ranked by the penalized score,
      beginnings, which have one length, by their probability.
    num_results: R, at most K; K if None.
    reorder: `reorder(carry, parents)`, the carry of the beginnings `parents` (B, K), where the
      carry is that of K beginnings in a form of its own, also before the first token. None: its
      arrays are repeated before the first token, and gathered after each.

  Returns:
    ids (B, R, T) and scores (B, R), the best first.

  Raises:
    ValueError: width, max_length or num_results is below 1, or num_results above width.

  Source: Wu et al. (2016), section 7; Ott et al., "fairseq" (2019) for the end of a search.
  """
  num_results = width if num_results is None else num_results
  _expect(max_length, width, num_results)
  if num_results > width:
    raise ValueError(f"num_results: expected at most width={width}, got {num_results}")
  if reorder is None:
    carry = jax.tree.map(lambda x: _repeat(x, width), carry)
    reorder = pick
  last = jnp.full((batch_size, width), start, jnp.int32)
  dtype = _dtype(step, carry, last)
  # All beginnings are equal before the first token: one of them counts.
  alive = jnp.full((batch_size, width), -jnp.inf, dtype).at[:, 0].set(0)
  ids = jnp.full((batch_size, width, max_length), pad, jnp.int32)
  complete = Found(ids, jnp.full((batch_size, width), -jnp.inf, dtype))

  def is_done(complete, alive):
    # log p only falls, so that a beginning with the largest penalty bounds what follows it.
    bound = alive.max(-1) / penalty(max_length, max(0.0, length_penalty))
    worst = complete.scores[:, num_results - 1]
    return jnp.isfinite(complete.scores[:, -1]) | (jnp.isfinite(worst) & (worst >= bound))

  def advance(state):
    t, last, alive, ids, complete, carry = state
    carry, logits = step(carry, last)
    # The 2K best of all are among the 2K best of each beginning.
    best, tokens = _log_top_k(logits, 2 * width)
    count = best.shape[-1]
    total = (alive[..., None] + best).reshape(batch_size, -1)
    best, chosen = lax.top_k(total, min(2 * width, width * count))
    parents = chosen // count
    tokens = jnp.take_along_axis(tokens.reshape(batch_size, -1), chosen, -1)
    continued = pick(ids, parents).at[..., t].set(tokens)
    ends = tokens == end
    # A search of few tokens has fewer than K that end.
    ranked = jnp.where(ends & (jnp.arange(ends.shape[-1]) < width), best, -jnp.inf)
    added = Found(continued, ranked / penalty(t + 1, length_penalty))
    complete = _merge(complete, added, is_done(complete, alive), width)
    alive, kept = lax.top_k(_padded(jnp.where(ends, -jnp.inf, best), width), width)
    kept = jnp.minimum(kept, ends.shape[-1] - 1)
    parents, last = (jnp.take_along_axis(x, kept, -1) for x in (parents, tokens))
    carry = reorder(carry, parents)
    return t + 1, last, alive, pick(continued, kept), complete, carry

  t, _, alive, ids, complete, _ = lax.while_loop(
      lambda state: (state[0] < max_length) & ~is_done(state[4], state[2]).all(),
      advance, (0, last, alive, ids, complete, carry),
  )  # fmt: skip
  cut = Found(ids, alive / penalty(t, length_penalty))
  found = _merge(complete, cut, is_done(complete, alive), width)
  return jax.tree.map(lambda x: x[:, :num_results], found)


def pick(carry, rows: Int[Array, "B K"]):
  """x[b, rows[b, k]] of each array x (B, ...) of a carry; scalars are shared."""
  return jax.tree.map(lambda x: x[jnp.arange(len(rows))[:, None], rows] if x.ndim else x, carry)


def _expect(max_length, width, num_results=1):
  given = {"max_length": max_length, "width": width, "num_results": num_results}
  for name, value in given.items():
    if value < 1:
      raise ValueError(f"{name}: expected at least 1, got {value}")


def _log_top_k(logits, k):
  """The k largest of log softmax(logits) with their ids, or all if there are fewer."""
  logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
  best, ids = lax.top_k(logits, min(k, logits.shape[-1]))
  return best - jax.nn.logsumexp(logits, -1, keepdims=True), ids


def _dtype(step, carry, ids):
  return jnp.promote_types(jax.eval_shape(step, carry, ids)[1].dtype, jnp.float32)


def _repeat(x, width):
  x = jnp.asarray(x)
  return jnp.repeat(x[:, None], width, 1) if x.ndim else x


def _padded(x, width):
  """x (B, M) with -inf up to `width` columns."""
  return jnp.pad(x, ((0, 0), (0, max(0, width - x.shape[-1]))), constant_values=-jnp.inf)


def _merge(found: Found, added: Found, done, width) -> Found:
  """The K best of both; where a search is done, `found`."""
  scores = jnp.where(done[:, None], -jnp.inf, added.scores)
  scores, rows = lax.top_k(jnp.concatenate([found.scores, scores], -1), width)
  return Found(pick(jnp.concatenate([found.ids, added.ids], 1), rows), scores)
