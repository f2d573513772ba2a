"""Batches: each is a function of its step, and together they cover the data."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import batches
from dlx.errors import UserError
from dlx.experiment import Rngs

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def random_windows(compile_, tokens, seed, **sizes):
  draw = compile_(lambda tokens, rng: batches.random_windows(tokens, rng, **sizes))
  return [np.asarray(x) for x in draw(tokens, jax.random.key(seed))]


@eager_and_jit
def test_random_targets_are_the_tokens_after_the_inputs(compile_):
  tokens = jax.random.randint(jax.random.key(0), (300,), 0, 50)
  text = np.asarray(tokens)
  inputs, targets = random_windows(compile_, tokens, 1, batch_size=64, seq_len=7)
  assert inputs.shape == targets.shape == (64, 7)
  np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
  every = {tuple(text[i : i + 8]) for i in range(300 - 7)}
  assert {(*x, y[-1]) for x, y in zip(inputs, targets)} <= every


@eager_and_jit
def test_random_windows_are_a_pure_function_of_the_key(compile_):
  tokens = jnp.arange(1000)
  first = random_windows(compile_, tokens, 5, batch_size=16, seq_len=9)
  again = random_windows(jax.jit, tokens, 5, batch_size=16, seq_len=9)
  other = random_windows(compile_, tokens, 6, batch_size=16, seq_len=9)
  np.testing.assert_array_equal(first, again)
  assert (first[0] != other[0]).any()


@eager_and_jit
def test_random_windows_start_at_every_position_equally_often(compile_):
  size, seq_len, count = 12, 5, 7000
  inputs, targets = random_windows(
      compile_, jnp.arange(size), 0, batch_size=count, seq_len=seq_len
  )
  starts = np.bincount(inputs[:, 0], minlength=size)
  positions = size - seq_len  # The last target is the last token.
  assert (starts[positions:] == 0).all()
  assert targets.max() == size - 1
  # Each count is binomial; five standard deviations are 147.
  np.testing.assert_allclose(starts[:positions], count / positions, atol=150)


@eager_and_jit
def test_random_windows_of_the_shortest_text_stay_within_it(compile_):
  # An index out of range would be clamped, and repeat the last token.
  inputs, targets = random_windows(compile_, jnp.arange(9), 3, batch_size=32, seq_len=8)
  np.testing.assert_array_equal(inputs, np.tile(np.arange(8), (32, 1)))
  np.testing.assert_array_equal(targets, inputs + 1)


def read_streams(compile_, tokens, steps, **sizes):
  read = compile_(lambda tokens, step: batches.stream_windows(tokens, step, **sizes))
  found = [read(tokens, jnp.int32(step)) for step in range(steps)]
  return [np.stack(x) for x in zip(*found)]


@eager_and_jit
@pytest.mark.parametrize(
    "size, streams, seq_len", [(100, 4, 5), (101, 4, 5), (25, 4, 6), (24, 1, 23)]
)
def test_stream_windows_continue_each_stream_and_start_over(compile_, size, streams, seq_len):
  length = (size - 1) // streams
  rounds = length // seq_len
  inputs, targets, reset = read_streams(
      compile_, jnp.arange(size), 2 * rounds + 1, batch_size=streams, seq_len=seq_len
  )
  assert inputs.shape == targets.shape == (2 * rounds + 1, streams, seq_len)
  np.testing.assert_array_equal(targets, inputs + 1)
  np.testing.assert_array_equal(inputs[0, :, 0], np.arange(streams) * length)
  # Within a pass, the windows of a stream are contiguous; the next pass repeats them.
  for b in range(streams):
    read = inputs[:rounds, b].ravel()
    np.testing.assert_array_equal(read, b * length + np.arange(rounds * seq_len))
    assert length - seq_len < len(read) <= length
  np.testing.assert_array_equal(inputs[rounds : 2 * rounds], inputs[:rounds])
  np.testing.assert_array_equal(reset, np.arange(2 * rounds + 1) % rounds == 0)


def test_streams_share_no_token():
  inputs, _, _ = read_streams(jax.jit, jnp.arange(200), 199 // 8 // 6, batch_size=8, seq_len=6)
  assert len(np.unique(inputs)) == inputs.size


@pytest.mark.parametrize("size, seq_len", [(101, 10), (100, 10), (110, 10), (111, 10), (11, 10)])
def test_windows_cover_all_but_the_last_incomplete_one(size, seq_len):
  tokens = np.random.default_rng(0).integers(0, 50, size)
  inputs, targets = batches.windows("test", tokens, seq_len).values()
  count = inputs.shape[0]
  assert inputs.shape == targets.shape == (count, seq_len)
  np.testing.assert_array_equal(inputs.ravel(), tokens[: count * seq_len])
  np.testing.assert_array_equal(targets.ravel(), tokens[1 : count * seq_len + 1])
  assert size - 1 - seq_len < count * seq_len <= size - 1


def test_a_text_needs_one_sequence_per_stream_and_one_more_token():
  batches.check_length("training", 17, 16)
  with pytest.raises(UserError, match=r"training text has 16 tokens, fewer than 1 x 16 \+ 1"):
    batches.check_length("training", 16, 16)
  batches.check_length("training", 65, 16, 4)
  with pytest.raises(UserError, match=r"64 tokens, fewer than 4 x 16 \+ 1"):
    batches.check_length("training", 64, 16, 4)
  with pytest.raises(UserError, match="seq_len: expected at least 1, got 0"):
    batches.check_length("training", 64, 0)


def test_windows_of_a_text_that_is_too_short_are_refused():
  with pytest.raises(UserError, match="the validation text has 10 tokens"):
    batches.windows("validation", np.arange(10), 10)


@pytest.mark.parametrize(
    "count, streams, expected", [(8, 4, (4, 2)), (9, 4, (4, 2)), (3, 8, (3, 1))]
)
def test_sequences_are_joined_to_contiguous_streams(count, streams, expected):
  sequences = batches.windows("test", np.arange(5 * count + 1), 5)
  joined = batches.in_streams(sequences, streams)
  assert joined["inputs"].shape == joined["targets"].shape == (*expected, 5)
  for i, stream in enumerate(joined["inputs"]):
    np.testing.assert_array_equal(stream.ravel(), i * stream.size + np.arange(stream.size))
  np.testing.assert_array_equal(joined["targets"], joined["inputs"] + 1)


def test_batches_of_epochs_take_the_same_examples_of_every_array():
  batch_fn = batches.make_epochs(3)
  train = {"x": jnp.arange(11), "y": 10 * jnp.arange(22).reshape(11, 2)}
  for step in range(5):
    # The order depends on the key of the run alone.
    rngs = Rngs(jax.random.key(3), jax.random.key(100 + step))
    batch = batch_fn(train, jnp.int32(step), rngs)
    expected, _ = batches.shuffled(rngs.run, step, num_examples=11, batch_size=3)
    np.testing.assert_array_equal(batch["x"], expected)
    np.testing.assert_array_equal(batch["y"], train["y"][expected])


def test_an_epoch_has_every_example_once_in_a_new_order():
  rng = jax.random.key(3)
  draw = jax.jit(lambda step: batches.shuffled(rng, step, num_examples=11, batch_size=3))
  epochs = [[draw(3 * e + i) for i in range(3)] for e in range(40)]
  for number, epoch in enumerate(epochs):
    assert [int(e) for _, e in epoch] == [number] * 3
    seen = np.concatenate([indices for indices, _ in epoch])
    assert len(set(seen.tolist())) == 9 and set(seen.tolist()) <= set(range(11))
  orders = {tuple(np.concatenate([i for i, _ in epoch]).tolist()) for epoch in epochs}
  assert len(orders) == 40
  assert {int(i) for epoch in epochs for indices, _ in epoch for i in indices} == set(range(11))


def test_a_shuffled_batch_is_a_function_of_key_and_step():
  args = {"num_examples": 11, "batch_size": 3}
  one = batches.shuffled(jax.random.key(3), jnp.int32(7), **args)[0]
  np.testing.assert_array_equal(batches.shuffled(jax.random.key(3), jnp.int32(7), **args)[0], one)
  assert (batches.shuffled(jax.random.key(4), jnp.int32(7), **args)[0] != one).any()


def test_batches_by_length_have_similar_lengths_and_each_sequence_once_per_epoch():
  draw = jax.jit(
      lambda step: batches.by_length(jax.random.key(1), step, num_examples=1003, batch_size=10)
  )
  epochs = [[draw(100 * e + i) for i in range(100)] for e in range(4)]
  for number, epoch in enumerate(epochs):
    assert [int(e) for _, e in epoch] == [number] * 100
    seen = np.concatenate([indices for indices, _ in epoch])
    assert len(set(seen.tolist())) == 1000 and seen.min() >= 0 and seen.max() < 1003
  firsts = [float(epoch[i][0].mean()) for epoch in epochs for i in range(10)]
  assert np.std(firsts) > 200  # Short and long batches come in a random order.
  spans = [int(np.ptp(np.asarray(indices))) for indices, _ in sum(epochs, [])]
  assert max(spans) < 120 and np.mean(spans) > 48  # An eighth of 100 batches is shuffled together.
  batches_seen = {tuple(sorted(indices.tolist())) for indices, _ in sum(epochs, [])}
  assert len(batches_seen) == 400  # No batch occurs twice.


def test_few_batches_by_length_cover_the_examples_too():
  sizes = {"num_examples": 11, "batch_size": 5}
  for epoch in range(20):
    steps = (2 * epoch, 2 * epoch + 1)
    seen = np.concatenate([batches.by_length(jax.random.key(1), s, **sizes)[0] for s in steps])
    assert len(set(seen.tolist())) == 10 and 0 <= seen.min() and seen.max() <= 10
