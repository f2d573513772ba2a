"""Greedy and beam search, against all sequences of small models."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import beam_search

V, T, START, END = 4, 4, 0, 3
SEARCH = {"max_length": T, "start": START, "end": END, "pad": 0}


@pytest.fixture(params=[False, True], ids=["eager", "jitted"])
def run(request):
  return jax.jit if request.param else lambda f: f


@pytest.fixture(scope="module")
def tables():
  """Logits of the next token given the last two, of three models (B, V, V, V)."""
  return np.random.default_rng(0).normal(size=(3, V, V, V)) * 2


def stepper(tables):
  """A model whose carry is the token before the last one, with a scalar that counts steps."""
  tables = jnp.asarray(tables)

  def step(carry, ids):
    before, count = carry
    rows = jnp.arange(len(ids)).reshape(-1, *[1] * (ids.ndim - 1))
    return (ids, count + 1), tables[rows, before, ids]

  return step, (jnp.full((len(tables),), START), jnp.zeros((), jnp.int32))


def log_probability(table, ids):
  before, last, total = START, START, 0.0
  for token in ids:
    z = table[before, last]
    total += z[token] - np.log(np.exp(z).sum())
    before, last = last, token
  return total


def every_sequence():
  for n in range(1, T + 1):
    for ids in itertools.product(range(V), repeat=n):
      if END not in ids[:-1] and (ids[-1] == END or n == T):
        yield ids


def ranked(table, alpha):
  scored = {
      ids: log_probability(table, ids) / ((5 + len(ids)) / 6) ** alpha for ids in every_sequence()
  }
  return sorted(scored.items(), key=lambda item: -item[1])


def padded(ids):
  return [*ids, *[0] * (T - len(ids))]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_a_wide_beam_finds_the_best_sequences_in_order(x64, run, tables, alpha):
  step, carry = stepper(tables)
  width = len(list(every_sequence()))
  found = run(lambda carry: beam_search.beam_search(
      step, carry, batch_size=3, width=width, length_penalty=alpha, **SEARCH
  ))(carry)  # fmt: skip
  for b in range(3):
    expected = ranked(tables[b], alpha)
    np.testing.assert_allclose(found.scores[b], [score for _, score in expected], rtol=1e-12)
    assert found.ids[b, :8].tolist() == [padded(ids) for ids, _ in expected[:8]]


@pytest.mark.sampled(2)
@pytest.mark.parametrize("alpha", [0.0, 0.7])
def test_width_one_is_greedy(x64, run, tables, alpha):
  step, carry = stepper(tables)
  options = {"batch_size": 3, "length_penalty": alpha, **SEARCH}
  greedy = run(functools.partial(beam_search.greedy_search, step, **options))(carry)
  beam = run(functools.partial(beam_search.beam_search, step, width=1, **options))(carry)
  assert beam.ids[:, 0].tolist() == greedy.ids.tolist()
  np.testing.assert_allclose(beam.scores[:, 0], greedy.scores, rtol=1e-12)
  for table, ids, score in zip(tables, greedy.ids, greedy.scores):
    tokens = []
    while len(tokens) < T and END not in tokens:
      before, last = [START, START, *tokens][-2:]
      tokens.append(int(table[before, last].argmax()))
    assert ids.tolist() == padded(tokens)
    expected = log_probability(table, tokens) / ((5 + len(tokens)) / 6) ** alpha
    np.testing.assert_allclose(score, expected, rtol=1e-12)


@pytest.mark.full
def test_scores_are_those_of_the_sequences_and_other_examples_change_none(x64, tables):
  step, carry = stepper(tables)
  found = beam_search.beam_search(step, carry, batch_size=3, width=3, **SEARCH)
  assert (jnp.diff(found.scores) <= 0).all()
  for b in range(3):
    for ids, score in zip(found.ids[b].tolist(), found.scores[b]):
      ids = ids[: ids.index(END) + 1] if END in ids else ids
      np.testing.assert_allclose(score, log_probability(tables[b], ids), rtol=1e-12)
    step_b, carry_b = stepper(tables[b : b + 1])
    alone = beam_search.beam_search(step_b, carry_b, batch_size=1, width=3, **SEARCH)
    assert alone.ids[0].tolist() == found.ids[b].tolist()
    np.testing.assert_allclose(alone.scores[0], found.scores[b], rtol=1e-12)


@pytest.mark.full
def test_a_search_stops_when_all_sequences_have_ended():
  """The number of steps, which the model counts through a callback."""
  counted = []

  def step(carry, ids):
    jax.debug.callback(lambda _: counted.append(1), ids.sum())
    return carry, jnp.zeros((*ids.shape, V)).at[..., END].set(20.0)

  options = {"batch_size": 2, **SEARCH, "max_length": 50}
  jax.block_until_ready(beam_search.greedy_search(step, (), **options))
  jax.effects_barrier()
  assert len(counted) == 1
  jax.block_until_ready(beam_search.beam_search(step, (), width=2, **options))
  jax.effects_barrier()
  assert len(counted) <= 4


@pytest.mark.full
@pytest.mark.parametrize("alpha", [-0.5, 0.0, 1.0])
def test_fewer_results_are_the_first_of_all(x64, tables, alpha):
  step, carry = stepper(tables)
  options = {"batch_size": 3, "width": 4, "length_penalty": alpha, **SEARCH}
  every = beam_search.beam_search(step, carry, **options)
  for count in (1, 2, 4):
    found = beam_search.beam_search(step, carry, num_results=count, **options)
    assert found.ids.tolist() == every.ids[:, :count].tolist()
    np.testing.assert_array_equal(found.scores, every.scores[:, :count])
  with pytest.raises(ValueError, match="num_results: expected at most width=4, got 5"):
    beam_search.beam_search(step, carry, num_results=5, **options)


def test_a_search_for_one_result_stops_when_nothing_can_become_better():
  counted = []

  def step(carry, ids):
    """The first token is most likely the end; a sequence that begins otherwise never ends."""
    jax.debug.callback(lambda _: counted.append(1), ids.sum())
    end = jnp.where(ids == START, 3.0, -50.0)
    return carry, jnp.zeros((*ids.shape, V)).at[..., START].set(-50.0).at[..., END].set(end)

  options = {"batch_size": 2, "width": 4, "length_penalty": 0.6, **SEARCH, "max_length": 20}
  taken = []
  for count in (4, 1):
    counted.clear()
    jax.block_until_ready(beam_search.beam_search(step, (), num_results=count, **options))
    jax.effects_barrier()
    taken.append(len(counted))
  assert taken == [20, 1]


@pytest.mark.parametrize("wrong", [{"width": 0}, {"width": 2, "max_length": 0}])
def test_no_width_and_no_length_are_refused(tables, wrong):
  step, carry = stepper(tables)
  with pytest.raises(ValueError, match="expected at least 1, got 0"):
    beam_search.beam_search(step, carry, batch_size=3, **{**SEARCH, **wrong})
