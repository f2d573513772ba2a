"""Choosing the next token from logits, and generating by a scan over steps."""

from collections.abc import Callable

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def greedy(logits: Float[Array, "... vocab"]) -> Int[Array, "..."]:
  """The id of the largest logit (the first of equal ones)."""
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _at_least_float32(logits):
  return jnp.promote_types(logits.dtype, jnp.float32)


def keep_top_k(logits: Float[Array, "... vocab"], k: int) -> Float[Array, "... vocab"]:
  """Sets all but the k largest logits to -inf; logits equal to the k-th stay too.

  Raises:
    ValueError: k is below 1.
  """
  if k < 1:
    raise ValueError(f"top_k: expected at least 1, got {k}")
  smallest = lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
  return jnp.where(logits < smallest, -jnp.inf, logits)


def keep_top_p(logits: Float[Array, "... vocab"], p: float) -> Float[Array, "... vocab"]:
  """Keeps the smallest set of likeliest ids whose probability reaches p (the nucleus).

  An id stays when the ids likelier than it have, together, less than p; the
  likeliest id always stays.

  Raises:
    ValueError: p is outside (0, 1].

  Source: Holtzman et al., "The curious case of neural text degeneration" (2020).
  """
  if not 0 < p <= 1:
    raise ValueError(f"top_p: expected 0 < top_p <= 1, got {p}")
  if p == 1:  # All; a sum of float32 probabilities would reach 1 before the last id.
    return logits
  order = jnp.argsort(-logits, axis=-1)
  ordered = jnp.take_along_axis(logits, order, axis=-1)
  probabilities = jax.nn.softmax(ordered.astype(_at_least_float32(logits)), axis=-1)
  before = jnp.cumsum(probabilities, axis=-1) - probabilities
  keep = jnp.take_along_axis(before < p, jnp.argsort(order, axis=-1), axis=-1)
  return jnp.where(keep, logits, -jnp.inf)


def sample(
    rng: jax.Array,
    logits: Float[Array, "... vocab"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Array, "..."]:
  """Draws ids from softmax(logits / temperature), cut to top_k and then to top_p.

  Args:
    rng: a typed key.
    logits: `(..., vocab)`.
    temperature: 1 draws from the model, below 1 sharper; 0 is `greedy`.
    top_k: keep the k likeliest ids.
    top_p: keep the nucleus of probability p, after the temperature.

  Returns:
    int32 ids, `(...)`.

  Raises:
    ValueError: temperature is negative, top_k below 1, or top_p outside (0, 1].
  """
  if not temperature >= 0:
    raise ValueError(f"temperature: expected 0 or more, got {temperature}")
  if temperature == 0:
    return greedy(logits)
  logits = logits.astype(_at_least_float32(logits))
  # From the largest down, so that a tiny temperature gives -inf and not inf - inf.
  logits = (logits - logits.max(axis=-1, keepdims=True)) / temperature
  if top_k is not None:
    logits = keep_top_k(logits, top_k)
  if top_p is not None:
    logits = keep_top_p(logits, top_p)
  return jax.random.categorical(rng, logits, axis=-1).astype(jnp.int32)


def generate(
    rng: jax.Array,
    step: Callable,
    carry,
    logits: Float[Array, "... vocab"],
    length: int,
    **options,
) -> tuple[Int[Array, "... length"], tuple]:
  """Draws `length` tokens, each from the logits that the one before it led to.

  Args:
    rng: a typed key.
    step: `step(carry, ids) -> (carry, logits)`, one step of the model.
    carry: the model's state after the prompt.
    logits: what the model says after the prompt, `(..., vocab)`.
    length: how many tokens.
    **options: temperature, top_k, top_p of `sample`.

  Returns:
    (ids, (carry, logits)): int32 ids `(..., length)`, and what to go on from.
  """

  def draw(state, rng):
    carry, logits = state
    ids = sample(rng, logits, **options)
    return step(carry, ids), ids

  state, ids = lax.scan(draw, (carry, logits), jax.random.split(rng, length))
  return jnp.moveaxis(ids, 0, -1), state
