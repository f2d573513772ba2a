"""Sampling of the next token from logits, and autoregressive generation."""

from collections.abc import Callable, Iterator
import functools

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

MAX_TEMPERATURE = 1e6


def greedy(logits: Float[Array, "... V"]) -> Int[Array, "..."]:
  """The argmax of the logits (the first one at ties), int32."""
  return jnp.argmax(logits, axis=-1).astype(jnp.int32)


def _at_least_float32(logits):
  return jnp.promote_types(logits.dtype, jnp.float32)


def keep_top_k(logits: Float[Array, "... V"], k: int) -> Float[Array, "... V"]:
  """Sets all but the k largest logits to -inf; ties with the k-th largest are kept.

  Raises:
    ValueError: k is below 1.
  """
  if k < 1:
    raise ValueError(f"top_k: expected at least 1, got {k}")
  smallest = lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
  return jnp.where(logits < smallest, -jnp.inf, logits)


def keep_top_p(logits: Float[Array, "... V"], p: float) -> Float[Array, "... V"]:
  """Keeps the smallest set of most probable ids whose probability reaches p (the nucleus).

  An id is kept if the total probability of all more probable ids is less than p, so the
  most probable id is always kept. All other logits become -inf.

  Raises:
    ValueError: p is outside (0, 1].

  Source: Holtzman et al., "The curious case of neural text degeneration" (2020).
  """
  if not 0 < p <= 1:
    raise ValueError(f"top_p: expected 0 < top_p <= 1, got {p}")
  if p == 1:  # All ids: a sum of float32 probabilities may reach 1 before the last one.
    return logits
  order = jnp.argsort(-logits, axis=-1)
  ordered = jnp.take_along_axis(logits, order, axis=-1)
  probabilities = jax.nn.softmax(ordered.astype(_at_least_float32(logits)), axis=-1)
  before = jnp.cumsum(probabilities, axis=-1) - probabilities
  keep = jnp.take_along_axis(before < p, jnp.argsort(order, axis=-1), axis=-1)
  return jnp.where(keep, logits, -jnp.inf)


def sample(
    rng: jax.Array,
    logits: Float[Array, "... V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
) -> Int[Array, "..."]:
  """Draws ids from softmax(logits / temperature), restricted to top_k and then to top_p.

  Args:
    rng: a typed key.
    logits: `(..., V)`.
    temperature: 1 samples from the model's distribution, less than 1 from a sharper one;
      0 is `greedy`. At most MAX_TEMPERATURE, where all ids that are possible are equally
      probable; beyond the largest float, ids with a logit of -inf would be, too.
    top_k: keep the k most probable ids.
    top_p: keep the nucleus of probability p, computed after the temperature.

  Returns:
    int32 ids, `(...)`.

  Raises:
    ValueError: temperature is out of its range, top_k below 1, or top_p outside (0, 1].
  """
  if not 0 <= temperature <= MAX_TEMPERATURE:
    raise ValueError(
        f"temperature: expected 0 <= temperature <= {MAX_TEMPERATURE:g}, got {temperature}"
    )
  if temperature == 0:
    return greedy(logits)
  logits = logits.astype(_at_least_float32(logits))
  # Relative to the largest, so that a tiny temperature gives -inf and not inf - inf.
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
    logits: Float[Array, "... V"],
    length: int,
    **options,
) -> tuple[Int[Array, "... T"], tuple]:
  """Generates T = `length` tokens, feeding each one back into the model.

  Args:
    rng: a typed key.
    step: `step(carry, ids) -> (carry, logits)`, one step of the model.
    carry: the model's state after the prompt.
    logits: the model's output after the prompt, `(..., V)`.
    length: the number of tokens.
    **options: temperature, top_k, top_p of `sample`.

  Returns:
    (ids, (carry, logits)): int32 ids `(..., T)`, and the state from which to continue.
  """

  def draw(state, rng):
    carry, logits = state
    ids = sample(rng, logits, **options)
    return step(carry, ids), ids

  state, ids = lax.scan(draw, (carry, logits), jax.random.split(rng, length))
  return jnp.moveaxis(ids, 0, -1), state


def pieces(
    rng: jax.Array,
    step: Callable,
    variables,
    state: tuple,
    length: int,
    *,
    piece: int = 250,
    room: int | None = None,
    reread: Callable | None = None,
    **options,
) -> Iterator[np.ndarray]:
  """Generates `length` tokens in pieces, so that they can be shown while they are drawn.

  Every piece is one call of the same compiled `generate`. The piece that starts at token t
  uses the key fold_in(rng, t). This function runs on the host and is not itself traced.

  Args:
    rng: a typed key.
    step: `step(variables, carry, ids) -> (carry, logits)`, one step of the model.
    variables: the model's; an argument of the compiled function, not a constant in it.
    state: (carry, logits) after the prompt, as for `generate`.
    length: the number of tokens in total.
    piece: the number of tokens per piece; the last one is cut.
    room: the number of tokens that can be drawn from `state`; None for any number.
    reread: `reread(ids) -> (state, room)`, from all ids drawn so far, where there is no room.
    **options: temperature, top_k, top_p of `sample`.

  Yields:
    int32 ids, `(..., piece)`; fewer in the last piece.

  Raises:
    ValueError: piece is below 1, or as for `sample`; at the first piece.
  """
  if piece < 1:
    raise ValueError(f"piece: expected at least 1, got {piece}")

  @jax.jit
  def draw(variables, state, rng):
    return generate(rng, functools.partial(step, variables), *state, piece, **options)

  drawn, start = [], 0
  while start < length:
    ids, state = draw(variables, state, jax.random.fold_in(rng, start))
    count = min(piece, length - start, piece if room is None else room)
    drawn.append(np.asarray(ids)[..., :count])
    yield drawn[-1]
    start += count
    if room is not None:
      room -= count
      if not room and start < length:
        state, room = reread(np.concatenate(drawn, -1))
