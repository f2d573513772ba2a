"""Batches of token windows as a pure function of (seed, step).

There is no iterator and so no iterator state to save or lose: a resumed run asks for
the batch of its next step and gets the one the uninterrupted run got.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from dlx.errors import UserError


def check_length(split: str, num_tokens: int, window: int, lanes: int = 1) -> None:
  """Raises UserError unless `lanes` windows, and one token more, fit into a text."""
  if window < 1:
    raise UserError(f"a window of {window} characters is too short; it must be at least 1")
  if num_tokens < lanes * window + 1:
    raise UserError(
        f"the {split} text has {num_tokens} characters, but {lanes} window(s) of {window} and one "
        f"more are needed; give a longer text, or lower config.data.window and eval_window"
    )


def random_windows(
    tokens: Int[Array, "N"], rng: jax.Array, *, batch_size: int, window: int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
  """Windows at uniformly random places: inputs, and targets one token on.

  Args:
    tokens: the text's ids, N > window.
    rng: a typed key; fold the step into it.
    batch_size: B.
    window: T.

  Returns:
    (inputs, targets), each `(B, T)`, with targets[:, t] the token after inputs[:, t].
  """
  starts = jax.random.randint(rng, (batch_size, 1), 0, tokens.shape[0] - window)
  windows = tokens[starts + jnp.arange(window + 1)]
  return windows[:, :-1], windows[:, 1:]


def stream_windows(
    tokens: Int[Array, "N"], step: Int[Array, ""], *, batch_size: int, window: int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"], Array]:
  """Windows that continue each other, for a model that carries its state along.

  The text is cut into B lanes of equal length; step s reads the window at s T of each
  lane, and after the last one starts over.

  Args:
    tokens: the text's ids, N > B T.
    step: the step.
    batch_size: B, the lanes.
    window: T.

  Returns:
    (inputs, targets, fresh): fresh is True where the lanes start over and the state
    must be zero.
  """
  lane = (tokens.shape[0] - 1) // batch_size
  place = step % (lane // window)
  starts = jnp.arange(batch_size)[:, None] * lane + place * window
  windows = tokens[starts + jnp.arange(window + 1)]
  return windows[:, :-1], windows[:, 1:], place == 0


def shuffled(
    rng: jax.Array, step: Int[Array, ""], *, num_examples: int, batch_size: int
) -> tuple[Int[Array, "B"], Int[Array, ""]]:
  """The places of a batch's examples: every epoch goes through them in a new order.

  The last num_examples mod B of an order have no place in a batch; they are others in
  each epoch.

  Args:
    rng: a typed key, the same in all steps.
    step: the step.
    num_examples: N, at least B.
    batch_size: B.

  Returns:
    (indices, epoch), the epoch counted from 0.
  """
  steps = num_examples // batch_size
  epoch = step // steps
  order = jax.random.permutation(jax.random.fold_in(rng, epoch), num_examples)
  indices = jax.lax.dynamic_slice_in_dim(order, step % steps * batch_size, batch_size)
  return indices, epoch


def by_length(
    rng: jax.Array,
    step: Int[Array, ""],
    lengths: Int[Array, "N"],
    *,
    batch_size: int,
    spread: float = 0.1,
) -> tuple[Int[Array, "B"], Int[Array, ""]]:
  """As `shuffled`, but the sequences of a batch are about as long as each other.

  An epoch sorts them by length * u, with u drawn uniformly from [1 - spread, 1 + spread]
  for each, cuts that order into batches and goes through these in a random order. What
  is too much for whole batches is left out at either end.

  Args:
    rng: a typed key, the same in all steps.
    step: the step.
    lengths: of the N sequences.
    batch_size: B, at most N.
    spread: how much a batch mixes lengths; with 0, equal batches meet in every epoch.

  Returns:
    (indices, epoch), the epoch counted from 0.
  """
  count = len(lengths) // batch_size
  epoch = step // count
  noise_rng, start_rng, order_rng = jax.random.split(jax.random.fold_in(rng, epoch), 3)
  noise = jax.random.uniform(noise_rng, lengths.shape, minval=1 - spread, maxval=1 + spread)
  order = jnp.argsort(lengths * noise)
  start = jax.random.randint(start_rng, (), 0, len(lengths) - count * batch_size + 1)
  batch = jax.random.permutation(order_rng, count)[step % count]
  indices = jax.lax.dynamic_slice_in_dim(order, start + batch * batch_size, batch_size)
  return indices, epoch


def consecutive_windows(tokens: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
  """All whole windows of a text side by side, for evaluation: (inputs, targets), (W, T).

  The characters after the last whole window, fewer than T, are left out.
  """
  count = (len(tokens) - 1) // window
  inputs = tokens[: count * window].reshape(count, window)
  targets = tokens[1 : count * window + 1].reshape(count, window)
  return inputs, targets
