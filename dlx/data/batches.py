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
    rng: jax.Array, step: Int[Array, ""], *, num_examples: int, batch_size: int
) -> tuple[Int[Array, "B"], Int[Array, ""]]:
  """As `shuffled`, for sequences sorted by length: those of a batch are about as long.

  An epoch cuts the sorted sequences into groups of 64 batches (an eighth of all batches where
  that is less), at other places each time, shuffles every group, and goes through all batches
  in a random order. Only the group that holds the step's batch is drawn. What is too much for
  whole batches is left out at either end.

  Args:
    rng: a typed key, the same in all steps.
    step: the step.
    num_examples: N, at least B.
    batch_size: B.

  Returns:
    (indices, epoch), the epoch counted from 0.
  """
  count = num_examples // batch_size
  reach = max(1, min(64, count // 8))
  epoch = step // count
  start_rng, cut_rng, order_rng, mix_rng = jax.random.split(jax.random.fold_in(rng, epoch), 4)
  start = jax.random.randint(start_rng, (), 0, num_examples - count * batch_size + 1)
  cut = jax.random.randint(cut_rng, (), 0, reach)
  batch = jax.random.permutation(order_rng, count)[step % count]
  group = (batch + cut) // reach
  first = group * reach - cut  # Its first batch; the ends have groups that are cut off.
  places = first * batch_size + jnp.arange(reach * batch_size)
  inside = (places >= 0) & (places < count * batch_size)
  keys = jax.random.uniform(jax.random.fold_in(mix_rng, group), places.shape)
  mixed = places[jnp.argsort(jnp.where(inside, keys, 2.0))]
  place = (batch - jnp.maximum(first, 0)) * batch_size
  return start + jax.lax.dynamic_slice_in_dim(mixed, place, batch_size), epoch


def consecutive_windows(tokens: np.ndarray, window: int) -> tuple[np.ndarray, np.ndarray]:
  """All whole windows of a text side by side, for evaluation: (inputs, targets), (W, T).

  The characters after the last whole window, fewer than T, are left out.
  """
  count = (len(tokens) - 1) // window
  inputs = tokens[: count * window].reshape(count, window)
  targets = tokens[1 : count * window + 1].reshape(count, window)
  return inputs, targets
