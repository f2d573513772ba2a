"""Decoding: the ids kept by top-k and top-p, sampling frequencies, and generation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import decoding

PROBABILITIES = np.array([0.1, 0.4, 0.05, 0.3, 0.15])
LOGITS = np.log(PROBABILITIES).astype(np.float32)
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def kept_ids(logits):
  return [set(np.flatnonzero(np.isfinite(row))) for row in np.atleast_2d(logits)]


def chi_square(ids, probabilities):
  """sum (seen - expected)^2 / expected over the ids with nonzero probability."""
  seen = np.bincount(np.asarray(ids).ravel(), minlength=len(probabilities))
  possible = probabilities > 0
  assert seen[~possible].sum() == 0
  expected = seen.sum() * probabilities[possible]
  return np.sum((seen[possible] - expected) ** 2 / expected)


@eager_and_jit
def test_greedy_is_the_argmax_and_the_first_one_at_ties(compile_):
  ids = compile_(decoding.greedy)(jnp.array([[1.0, 3.0, 2.0], [5.0, 7.0, 7.0], [0.0, 0.0, 0.0]]))
  assert ids.dtype == jnp.int32
  np.testing.assert_array_equal(ids, [1, 1, 0])


@pytest.mark.parametrize(
    "k, expected",
    [(1, {1}), (2, {1, 3}), (3, {1, 3, 4}), (5, {0, 1, 2, 3, 4}), (9, {0, 1, 2, 3, 4})],
)
def test_top_k_keeps_the_k_most_probable_ids_unchanged(k, expected):
  logits = np.asarray(decoding.keep_top_k(jnp.asarray(LOGITS), k))
  assert kept_ids(logits) == [expected]
  np.testing.assert_array_equal(logits[sorted(expected)], LOGITS[sorted(expected)])
  assert np.all(logits[sorted(set(range(5)) - expected)] == -np.inf)


def test_top_k_keeps_ties_with_the_kth():
  assert kept_ids(decoding.keep_top_k(jnp.array([2.0, 1.0, 2.0, 0.0, 1.0]), 3)) == [{0, 1, 2, 4}]


# Sorted: 1 (0.4), 3 (0.3), 4 (0.15), 0 (0.1), 2 (0.05). The total probability of all more
# probable ids is 0, 0.4, 0.7, 0.85, 0.95.
@pytest.mark.parametrize(
    "p, expected",
    [
        (0.01, {1}),
        (0.39, {1}),
        (0.41, {1, 3}),
        (0.69, {1, 3}),
        (0.71, {1, 3, 4}),
        (0.84, {1, 3, 4}),
        (0.86, {0, 1, 3, 4}),
        (0.96, {0, 1, 2, 3, 4}),
        (1, {0, 1, 2, 3, 4}),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_p_unchanged(p, expected):
  logits = np.asarray(decoding.keep_top_p(jnp.asarray(LOGITS), p))
  assert kept_ids(logits) == [expected]
  np.testing.assert_array_equal(logits[sorted(expected)], LOGITS[sorted(expected)])
  assert np.all(logits[sorted(set(range(5)) - expected)] == -np.inf)


@eager_and_jit
def test_top_k_and_top_p_act_on_each_row(compile_):
  rows = jnp.stack([jnp.asarray(LOGITS), jnp.asarray(LOGITS[::-1])])[None]
  np.testing.assert_array_equal(
      np.isfinite(compile_(lambda rows: decoding.keep_top_k(rows, 2))(rows)),
      [[[0, 1, 0, 1, 0], [0, 1, 0, 1, 0]]],
  )
  np.testing.assert_array_equal(
      np.isfinite(compile_(lambda rows: decoding.keep_top_p(rows, 0.71))(rows)),
      [[[0, 1, 0, 1, 1], [1, 1, 0, 1, 0]]],
  )


def test_temperature_zero_is_greedy_for_every_key():
  logits = jnp.stack([jnp.asarray(LOGITS), jnp.asarray(LOGITS[::-1])])
  for seed in range(3):
    ids = decoding.sample(jax.random.key(seed), logits, temperature=0, top_k=3, top_p=0.5)
    np.testing.assert_array_equal(ids, [1, 3])


@pytest.mark.parametrize(
    "options, weights",
    [
        ({}, PROBABILITIES),
        ({"temperature": 0.5}, PROBABILITIES**2),
        ({"temperature": 2.0, "top_k": 3}, PROBABILITIES**0.5 * [0, 1, 0, 1, 1]),
        # The nucleus is computed after the temperature: 0.4^2, 0.3^2 are 0.56, 0.32 of the total.
        ({"temperature": 0.5, "top_p": 0.8}, PROBABILITIES**2 * [0, 1, 0, 1, 0]),
        # ... and after top_k: 0.4 is 0.57 of 0.4 + 0.3.
        ({"top_k": 2, "top_p": 0.5}, PROBABILITIES * [0, 1, 0, 0, 0]),
    ],
)
def test_sampling_frequencies_match_the_softmax_of_the_kept_logits(options, weights):
  logits = jnp.broadcast_to(LOGITS, (200, 100, 5))
  draw = jax.jit(lambda key, logits: decoding.sample(key, logits, **options))
  ids = draw(jax.random.key(0), logits)
  assert ids.shape == (200, 100) and ids.dtype == jnp.int32
  # With 4 degrees of freedom 23.5 is exceeded once in 10,000 keys; with fewer, more rarely.
  assert chi_square(ids, weights / weights.sum()) < 23.5


def test_the_frequency_check_rejects_a_slightly_wrong_distribution():
  logits = jnp.broadcast_to(LOGITS, (200, 100, 5))
  ids = jax.jit(lambda logits: decoding.sample(jax.random.key(0), logits / 1.1))(logits)
  assert chi_square(ids, PROBABILITIES) > 23.5


def counter_step(table):
  """A model whose next logits depend on all ids so far through a decaying sum."""

  def step(carry, ids):
    carry = 0.5 * carry + table[ids]
    return carry, jnp.sin(7 * carry)

  return step


@eager_and_jit
def test_generate_is_a_loop_of_sample_and_step(compile_):
  table = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)), jnp.float32)
  step, carry, logits = counter_step(table), jnp.ones((3, 5)), jnp.tile(jnp.asarray(LOGITS), (3, 1))
  options = {"temperature": 0.8, "top_k": 4}
  rng = jax.random.key(0)
  run = compile_(lambda rng, *first: decoding.generate(rng, step, *first, 6, **options))
  ids, state = run(rng, carry, logits)
  assert ids.shape == (3, 6) and ids.dtype == jnp.int32
  for t, key in enumerate(jax.random.split(rng, 6)):
    drawn = decoding.sample(key, logits, **options)
    np.testing.assert_array_equal(ids[:, t], drawn)
    carry, logits = step(carry, drawn)
  np.testing.assert_allclose(state[0], carry, atol=1e-5)
  np.testing.assert_allclose(state[1], logits, atol=1e-5)
  assert len({tuple(row) for row in np.asarray(ids)}) > 1


def test_generate_at_temperature_zero_takes_the_argmax_at_every_step():
  table = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)
  carry, logits, expected = np.ones(5, np.float32), LOGITS, []
  for _ in range(8):
    expected.append(int(np.argmax(logits)))
    carry = 0.5 * carry + table[expected[-1]]
    logits = np.sin(7 * carry)
  step = counter_step(jnp.asarray(table))
  first = jnp.ones(5), jnp.asarray(LOGITS)
  ids, _ = decoding.generate(jax.random.key(0), step, *first, 8, temperature=0)
  np.testing.assert_array_equal(ids, expected)
  assert len(set(expected)) > 1


def test_generation_continues_from_the_returned_state():
  table = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)), jnp.float32)
  step, first, rng = counter_step(table), (jnp.ones(5), jnp.asarray(LOGITS)), jax.random.key(0)
  whole, _ = decoding.generate(rng, step, *first, 6, temperature=0)
  one, state = decoding.generate(rng, step, *first, 2, temperature=0)
  two, _ = decoding.generate(rng, step, *state, 4, temperature=0)
  np.testing.assert_array_equal(np.concatenate([one, two]), whole)


def table_step(table, carry, ids):
  return counter_step(table)(carry, ids)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("batch", [(), (2,)])
@pytest.mark.parametrize("length, sizes", [(8, [4, 4]), (9, [4, 4, 1]), (3, [3]), (0, [])])
def test_pieces_are_one_generate_each_and_the_last_is_cut(batch, length, sizes):
  table = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)), jnp.float32)
  state = jnp.ones((*batch, 5)), jnp.broadcast_to(LOGITS, (*batch, 5))
  rng, options = jax.random.key(3), {"temperature": 0.8, "top_k": 4}
  drawn = list(decoding.pieces(rng, table_step, table, state, length, piece=4, **options))
  assert [ids.shape for ids in drawn] == [(*batch, size) for size in sizes]
  for i, ids in enumerate(drawn):
    piece_rng = jax.random.fold_in(rng, 4 * i)
    expected, state = decoding.generate(piece_rng, counter_step(table), *state, 4, **options)
    assert isinstance(ids, np.ndarray) and ids.dtype == np.int32
    np.testing.assert_array_equal(ids, expected[..., : ids.shape[-1]])


def test_pieces_at_temperature_zero_are_one_uninterrupted_generation():
  table = jnp.asarray(np.random.default_rng(0).normal(size=(5, 5)), jnp.float32)
  state, rng = (jnp.ones(5), jnp.asarray(LOGITS)), jax.random.key(0)
  whole, _ = decoding.generate(rng, counter_step(table), *state, 11, temperature=0)
  drawn = decoding.pieces(rng, table_step, table, state, 11, piece=4, temperature=0)
  np.testing.assert_array_equal(np.concatenate(list(drawn)), whole)


def test_all_pieces_share_one_compiled_function_that_takes_the_variables():
  traced = []

  def step(variables, carry, ids):
    traced.append(isinstance(variables, jax.core.Tracer))
    return table_step(variables, carry, ids)

  table, state = jnp.eye(5), (jnp.ones(5), jnp.asarray(LOGITS))
  assert len(list(decoding.pieces(jax.random.key(0), step, table, state, 11, piece=4))) == 3
  assert traced == [True]


def test_pieces_of_less_than_one_token_are_refused():
  state = jnp.ones(5), jnp.asarray(LOGITS)
  with pytest.raises(ValueError, match="piece: expected at least 1, got 0"):
    next(decoding.pieces(jax.random.key(0), table_step, jnp.eye(5), state, 8, piece=0))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"temperature": -0.5}, r"expected 0 <= temperature <= 1e\+06, got -0.5"),
        ({"temperature": float("nan")}, r"expected 0 <= temperature <= 1e\+06, got nan"),
        ({"temperature": 1e39}, r"expected 0 <= temperature <= 1e\+06, got 1e\+39"),
        ({"top_k": 0}, "top_k: expected at least 1, got 0"),
        ({"top_p": 0}, "top_p: expected 0 < top_p <= 1, got 0"),
        ({"top_p": 1.5}, "top_p: expected 0 < top_p <= 1, got 1.5"),
    ],
)
def test_an_option_out_of_range_is_named(options, message):
  with pytest.raises(ValueError, match=message):
    decoding.sample(jax.random.key(0), jnp.asarray(LOGITS), **options)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_the_highest_temperature_draws_every_possible_id_and_no_other(dtype):
  logits = jnp.asarray([-jnp.inf, 0.0, 5.0, -jnp.inf, -3.0], dtype)
  rngs = jax.random.split(jax.random.key(0), 300)
  draw = lambda rng: decoding.sample(rng, logits, temperature=decoding.MAX_TEMPERATURE)  # noqa: E731
  counts = np.bincount(jax.vmap(draw)(rngs), minlength=5)
  assert counts[[0, 3]].sum() == 0 and counts[[1, 2, 4]].min() > 70
