"""Batches of windows: each is a function of its step, and together they cover the text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import batches
from dlx.errors import UserError

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def random_windows(compile_, tokens, seed, **sizes):
  draw = compile_(lambda tokens, rng: batches.random_windows(tokens, rng, **sizes))
  return [np.asarray(x) for x in draw(tokens, jax.random.key(seed))]


@eager_and_jit
def test_random_targets_are_the_tokens_after_the_inputs(compile_):
  tokens = jax.random.randint(jax.random.key(0), (300,), 0, 50)
  text = np.asarray(tokens)
  inputs, targets = random_windows(compile_, tokens, 1, batch_size=64, window=7)
  assert inputs.shape == targets.shape == (64, 7)
  np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
  every = {tuple(text[i : i + 8]) for i in range(300 - 7)}
  assert {(*x, y[-1]) for x, y in zip(inputs, targets)} <= every


@eager_and_jit
def test_random_windows_are_a_pure_function_of_the_key(compile_):
  tokens = jnp.arange(1000)
  first = random_windows(compile_, tokens, 5, batch_size=16, window=9)
  again = random_windows(jax.jit, tokens, 5, batch_size=16, window=9)
  other = random_windows(compile_, tokens, 6, batch_size=16, window=9)
  np.testing.assert_array_equal(first, again)
  assert (first[0] != other[0]).any()


@eager_and_jit
def test_random_windows_start_at_every_place_equally_often(compile_):
  size, window, count = 12, 5, 7000
  inputs, targets = random_windows(
      compile_, jnp.arange(size), 0, batch_size=count, window=window
  )
  starts = np.bincount(inputs[:, 0], minlength=size)
  places = size - window  # The last target is the last token.
  assert (starts[places:] == 0).all()
  assert targets.max() == size - 1
  # Each is binomial; five standard deviations are 147.
  np.testing.assert_allclose(starts[:places], count / places, atol=150)


@eager_and_jit
def test_random_windows_of_the_shortest_text_stay_within_it(compile_):
  # An index out of range would be clamped, and repeat the last token.
  inputs, targets = random_windows(compile_, jnp.arange(9), 3, batch_size=32, window=8)
  np.testing.assert_array_equal(inputs, np.tile(np.arange(8), (32, 1)))
  np.testing.assert_array_equal(targets, inputs + 1)


def stream(compile_, tokens, steps, **sizes):
  read = compile_(lambda tokens, step: batches.stream_windows(tokens, step, **sizes))
  found = [read(tokens, jnp.int32(step)) for step in range(steps)]
  return [np.stack(x) for x in zip(*found)]


@eager_and_jit
@pytest.mark.parametrize("size, lanes, window", [(100, 4, 5), (101, 4, 5), (25, 4, 6), (24, 1, 23)])
def test_stream_windows_go_on_lane_by_lane_and_start_over(compile_, size, lanes, window):
  lane = (size - 1) // lanes
  rounds = lane // window
  inputs, targets, fresh = stream(
      compile_, jnp.arange(size), 2 * rounds + 1, batch_size=lanes, window=window
  )
  assert inputs.shape == targets.shape == (2 * rounds + 1, lanes, window)
  np.testing.assert_array_equal(targets, inputs + 1)
  np.testing.assert_array_equal(inputs[0, :, 0], np.arange(lanes) * lane)
  # Within a pass, a lane's windows are one piece of text; then it is the same again.
  for b in range(lanes):
    read = inputs[:rounds, b].ravel()
    np.testing.assert_array_equal(read, b * lane + np.arange(rounds * window))
    assert lane - window < len(read) <= lane
  np.testing.assert_array_equal(inputs[rounds : 2 * rounds], inputs[:rounds])
  np.testing.assert_array_equal(fresh, np.arange(2 * rounds + 1) % rounds == 0)


def test_stream_lanes_share_no_token():
  inputs, _, _ = stream(jax.jit, jnp.arange(200), 199 // 8 // 6, batch_size=8, window=6)
  assert len(np.unique(inputs)) == inputs.size


@pytest.mark.parametrize("size, window", [(101, 10), (100, 10), (110, 10), (111, 10), (11, 10)])
def test_consecutive_windows_cover_all_but_a_rest(size, window):
  tokens = np.random.default_rng(0).integers(0, 50, size)
  inputs, targets = batches.consecutive_windows(tokens, window)
  count = inputs.shape[0]
  assert inputs.shape == targets.shape == (count, window)
  np.testing.assert_array_equal(inputs.ravel(), tokens[: count * window])
  np.testing.assert_array_equal(targets.ravel(), tokens[1 : count * window + 1])
  assert size - 1 - window < count * window <= size - 1


def test_a_text_is_long_enough_from_one_window_and_a_token_on():
  batches.check_length("training", 17, 16)
  with pytest.raises(UserError, match="the training text has 16 characters"):
    batches.check_length("training", 16, 16)
  batches.check_length("training", 65, 16, 4)
  with pytest.raises(UserError, match=r"64 characters, but 4 window\(s\) of 16"):
    batches.check_length("training", 64, 16, 4)
  with pytest.raises(UserError, match="a window of 0 characters"):
    batches.check_length("training", 64, 0)


def test_an_epoch_goes_through_the_examples_once_and_the_next_in_another_order():
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


def test_a_shuffled_batch_is_a_function_of_key_and_step_alone():
  args = {"num_examples": 11, "batch_size": 3}
  one = batches.shuffled(jax.random.key(3), jnp.int32(7), **args)[0]
  np.testing.assert_array_equal(batches.shuffled(jax.random.key(3), jnp.int32(7), **args)[0], one)
  assert (batches.shuffled(jax.random.key(4), jnp.int32(7), **args)[0] != one).any()


def test_batches_by_length_hold_neighbours_and_each_sequence_once_an_epoch():
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
  assert max(spans) < 120 and np.mean(spans) > 48  # An eighth of 100 batches mix.
  batches_seen = {tuple(sorted(indices.tolist())) for indices, _ in sum(epochs, [])}
  assert len(batches_seen) == 400  # Who meets whom changes.


def test_few_batches_by_length_are_whole_too():
  sizes = {"num_examples": 11, "batch_size": 5}
  for epoch in range(20):
    steps = (2 * epoch, 2 * epoch + 1)
    seen = np.concatenate([batches.by_length(jax.random.key(1), s, **sizes)[0] for s in steps])
    assert len(set(seen.tolist())) == 10 and 0 <= seen.min() and seen.max() <= 10
