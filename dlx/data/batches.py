"""Batches as a pure function of (seed, step).

There is no iterator and therefore no iterator state to save or lose: a resumed run asks for the
batch of its next step and gets the batch of the uninterrupted run.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int
import numpy as np

from dlx.errors import UserError


def check_length(split: str, num_tokens: int, seq_len: int, streams: int = 1) -> None:
  """Raises UserError unless a text has `streams` sequences and one more token."""
  if seq_len < 1:
    raise UserError(f"seq_len: expected at least 1, got {seq_len}")
  if num_tokens < streams * seq_len + 1:
    raise UserError(
        f"the {split} text has {num_tokens} tokens, fewer than {streams} x {seq_len} + 1, the "
        "sequences of a batch and one more token; give a longer text, or shorter sequences"
    )


def random_windows(
    tokens: Int[Array, "N"], rng: jax.Array, *, batch_size: int, seq_len: int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"]]:
  """Sequences at uniformly random positions: inputs, and targets one token later.

  Args:
    tokens: ids of a text, N > T.
    rng: a typed key; fold the step into it.
    batch_size: B.
    seq_len: T.

  Returns:
    (inputs, targets), each `(B, T)`, with targets[:, t] the token after inputs[:, t].
  """
  starts = jax.random.randint(rng, (batch_size, 1), 0, tokens.shape[0] - seq_len)
  windows = tokens[starts + jnp.arange(seq_len + 1)]
  return windows[:, :-1], windows[:, 1:]


def make_windows(batch_size: int, seq_len: int) -> Callable:
  """`batch_fn` of a language model: `random_windows` of train["ids"], and the step."""

  def batch_fn(train, step, rngs):
    inputs, targets = random_windows(
        train["ids"], rngs.step, batch_size=batch_size, seq_len=seq_len
    )
    return {"inputs": inputs, "targets": targets, "step": step}

  return batch_fn


def stream_windows(
    tokens: Int[Array, "N"], step: Int[Array, ""], *, batch_size: int, seq_len: int
) -> tuple[Int[Array, "B T"], Int[Array, "B T"], Array]:
  """Sequences that continue those of the previous step, for a model that carries its state.

  The text is cut into B streams of equal length; step s reads T tokens at s T of each stream,
  and starts over after the last ones.

  Args:
    tokens: ids of a text, N > B T.
    step: the step.
    batch_size: B, the streams.
    seq_len: T.

  Returns:
    (inputs, targets, reset): reset is True where the streams start over and the state must be
    zero.
  """
  length = (tokens.shape[0] - 1) // batch_size
  index = step % (length // seq_len)
  starts = jnp.arange(batch_size)[:, None] * length + index * seq_len
  windows = tokens[starts + jnp.arange(seq_len + 1)]
  return windows[:, :-1], windows[:, 1:], index == 0


def windows(split: str, tokens: np.ndarray, seq_len: int) -> dict[str, np.ndarray]:
  """Non-overlapping sequences of a text, for evaluation: {"inputs", "targets"}, each (W, T).

  The tokens after the last complete sequence, fewer than T, are left out.

  Raises:
    UserError: the text, named by `split`, is shorter than one sequence.
  """
  check_length(split, len(tokens), seq_len)
  count = (len(tokens) - 1) // seq_len
  inputs = tokens[: count * seq_len].reshape(count, seq_len)
  targets = tokens[1 : count * seq_len + 1].reshape(count, seq_len)
  return {"inputs": inputs, "targets": targets}


def in_streams(sequences: dict[str, np.ndarray], streams: int) -> dict[str, np.ndarray]:
  """Consecutive sequences (W, T) joined to long ones, (streams, W // streams, T).

  With fewer sequences than streams, each is a stream of its own.
  """
  count = len(sequences["inputs"])
  streams = min(streams, count)
  each = count // streams
  return {
      name: x[: streams * each].reshape(streams, each, -1) for name, x in sequences.items()
  }


def make_epochs(batch_size: int) -> Callable:
  """`batch_fn` of shuffled epochs: B examples of every array, each example once per epoch.

  A batch also has the scalar "step", for losses that change with time.
  """

  def batch_fn(train, step, rngs):
    count = len(next(iter(train.values())))
    indices, _ = shuffled(rngs.run, step, num_examples=count, batch_size=batch_size)
    return {**{name: array[indices] for name, array in train.items()}, "step": step}

  return batch_fn


def all_examples(train, step, rngs):
  """`batch_fn` of full-batch gradient descent: every example in every step, with "weights" (N,).

  The weights are 1. Where several devices cannot share the examples equally, copies of the first
  one with weight 0 fill them up.
  """
  count, devices = len(next(iter(train.values()))), jax.device_count()
  rows = -(-count // devices) * devices
  indices = jnp.arange(rows)
  weights = (indices < count).astype(jnp.float32)
  if rows > count:
    train = {name: array[jnp.where(indices < count, indices, 0)] for name, array in train.items()}
  return {**train, "weights": weights, "step": step}


def shuffled(
    rng: jax.Array, step: Int[Array, ""], *, num_examples: int, batch_size: int
) -> tuple[Int[Array, "B"], Int[Array, ""]]:
  """The indices of a batch's examples: every epoch visits them in a new order.

  The last num_examples mod B of an order are left out; they differ in each epoch.

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
  positions = step % steps * batch_size + jnp.arange(batch_size)
  return permuted(jax.random.fold_in(rng, epoch), positions, num_examples), epoch


_SORTED = 1024  # Up to this size, a permutation of all elements costs less than a step.
_ROUNDS = 8


def permuted(
    rng: jax.Array, positions: Int[Array, "B"], num_elements: int
) -> Int[Array, "B"]:
  """The elements at some positions of a random permutation of 0, ..., N - 1.

  Only B elements are computed, where `jax.random.permutation` sorts all N. A Feistel network
  permutes the numbers below a power of 4, half of their bits at a time:

    (l, r) -> (r, l xor f_k(r)),  k = 1, ..., 8

  with f_k a hash keyed by rng. A result that is not below N is permuted again, until it is
  (cycle walking), which gives a permutation of 0, ..., N - 1. Small N are sorted: there the
  network has too few bits to be even.

  Args:
    rng: a typed key: of the permutation.
    positions: each in 0, ..., N - 1.
    num_elements: N.

  Source: Luby and Rackoff, "How to construct pseudorandom permutations from pseudorandom
    functions" (1988); Black and Rogaway, "Ciphers with arbitrary finite domains" (2002).
  """
  if num_elements <= _SORTED:
    return jax.random.permutation(rng, num_elements)[positions]
  half = -(-(num_elements - 1).bit_length() // 2)
  mask = jnp.uint32(2**half - 1)
  keys = jax.random.bits(rng, (_ROUNDS,), jnp.uint32)

  def permute(x):
    left, right = x >> half, x & mask
    for key in keys:
      h = (right ^ key) * jnp.uint32(0x9E3779B1)  # The mixing of MurmurHash3.
      h = (h ^ (h >> 15)) * jnp.uint32(0x85EBCA77)
      left, right = right, left ^ ((h ^ (h >> 13)) & mask)
    return (left << half) | right

  x = jax.lax.while_loop(
      lambda x: (x >= num_elements).any(),
      lambda x: jnp.where(x >= num_elements, permute(x), x),
      permute(positions.astype(jnp.uint32)),
  )
  return x.astype(jnp.int32)


def by_length(
    rng: jax.Array, step: Int[Array, ""], *, num_examples: int, batch_size: int
) -> tuple[Int[Array, "B"], Int[Array, ""]]:
  """As `shuffled`, for sequences sorted by length: those of a batch have similar lengths.

  An epoch cuts the sorted sequences into groups of 64 batches (an eighth of all batches if
  that is less), at random boundaries, shuffles every group, and visits all batches in a random
  order. Only the group of the step's batch is drawn. Sequences beyond a multiple of the batch
  size are left out at either end.

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
  batch = permuted(order_rng, jnp.atleast_1d(step % count), count)[0]
  group = (batch + cut) // reach
  first = group * reach - cut  # Its first batch; the groups at both ends are smaller.
  positions = first * batch_size + jnp.arange(reach * batch_size)
  inside = (positions >= 0) & (positions < count * batch_size)
  keys = jax.random.uniform(jax.random.fold_in(mix_rng, group), positions.shape)
  mixed = positions[jnp.argsort(jnp.where(inside, keys, 2.0))]
  position = (batch - jnp.maximum(first, 0)) * batch_size
  return start + jax.lax.dynamic_slice_in_dim(mixed, position, batch_size), epoch
