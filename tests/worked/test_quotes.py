"""The quote classifier, with and without attention. Final exam of February 26, 2022."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, decoding, linear, rnn

pytestmark = pytest.mark.usefixtures("x64")

QUOTE = np.array([[0.0, 1, 1], [1, 0, -1], [0, -1, 0]])  # AI, is, conscious: one a row.
WORDS = ["AI", "is", "conscious"]
AUTHORS = ["Mark Twain", "Albert Einstein", "GPT-3"]
W_HX = np.array([[0.0, -1, 2], [1, -2, 0]])
W_HH = np.eye(2)
W_YH = np.array([[0.0, -1], [1, 0], [2, -1]])
QUERY = np.array([2.0, -1])


def times(matrix, x):
  """W x for a column x: the kernel of dlx is the transpose. All biases are zero."""
  return linear.apply({"kernel": jnp.asarray(matrix.T)}, x)


def states_of(xs, activation):
  params = {"input": jnp.asarray(W_HX.T), "hidden": jnp.asarray(W_HH.T), "bias": jnp.zeros(2)}
  return rnn.scan(params, xs, activation=activation)[1]


def relu_states(xs):
  """h' = relu(W_hx x + W_hh h) from zeros."""
  return states_of(xs, jax.nn.relu)


def tanh_states(xs):
  """The same with tanh."""
  return states_of(xs, jnp.tanh)


def last(states):
  return states[..., -1, :]


def attended(states):
  """The context of the query over the states, which are keys and values, (..., 2)."""
  query = jnp.broadcast_to(jnp.asarray(QUERY), (*states.shape[:-2], 1, 1, 2))
  head = states[..., None, :, :]
  return attention.dot_product_attention(query, head, head)[..., 0, 0, :]


def scores(pooled):
  return times(W_YH, pooled)


def test_the_last_state_says_albert_einstein(run):
  """Part 3, problem 2, question 1: "AI is conscious", from the last of three states.

  W_hx x is [1 -2], [-2 1], [1 2]; the states are [1 0], [0 1], [1 3] and the scores of
  the last [-3 1 -1], of which the second is the largest.
  """
  np.testing.assert_array_equal(times(W_HX, jnp.asarray(QUOTE)), [[1, -2], [-2, 1], [1, 2]])
  states = run(relu_states)(jnp.asarray(QUOTE))
  np.testing.assert_array_equal(states, [[1, 0], [0, 1], [1, 3]])
  y = run(scores)(last(states))
  np.testing.assert_array_equal(y, [-3, 1, -1])
  assert AUTHORS[int(decoding.greedy(y))] == "Albert Einstein"


def test_attention_says_gpt_3_and_looks_at_ai(run):
  """Part 3, problem 2, question 2: the query [2 -1] attends to the three states instead.

  Scores 2, -1, -1 over sqrt(2), probabilities [.807 .097 .097] (so "AI" gets most),
  context [.903 .387], scores of the authors [-.387 .903 1.420].
  """
  states = run(relu_states)(jnp.asarray(QUOTE))
  p = run(attention.weights)(jnp.asarray(QUERY)[None, None], states[None])[0, 0]
  e = np.exp(np.array([2, -1, -1]) / np.sqrt(2))
  np.testing.assert_allclose(p, e / e.sum(), rtol=1e-12)
  np.testing.assert_allclose(p, [0.807, 0.097, 0.097], rtol=0, atol=5e-4)
  assert WORDS[int(decoding.greedy(p))] == "AI"
  c = run(attended)(states)
  np.testing.assert_allclose(c, [0.903, 0.387], rtol=0, atol=5e-4)
  y = run(scores)(c)
  np.testing.assert_allclose(y, [-0.387, 0.903, 1.420], rtol=0, atol=5e-4)
  assert AUTHORS[int(decoding.greedy(y))] == "GPT-3"


def test_a_score_is_an_inner_product(run):
  """Erratum of question 2. q^T h_1 is written [2 -1]^T [1 0].

  Vectors are columns there, [1 0]^T: the printed product is an outer product, 2 x 2. The
  score is [2 -1] [1 0]^T / sqrt(2) = sqrt(2).
  """
  h_1 = jnp.array([[1.0, 0]])
  score = np.sqrt(2)  # Beside a second key of zeros, whose score is 0.
  keys = jnp.concatenate([h_1, jnp.zeros((1, 2))])[None]
  p = run(attention.weights)(jnp.asarray(QUERY)[None, None], keys)
  assert float(jnp.log(p[0, 0, 0] / p[0, 0, 1])) == pytest.approx(score, rel=1e-12)
  as_written = QUERY[:, None] @ np.asarray(h_1)
  np.testing.assert_array_equal(as_written, [[2, 0], [-1, 0]])


@pytest.mark.parametrize("pool", [last, attended])
def test_mark_twain_never_gets_more_than_a_third(run, pool):
  """Part 3, problem 2, question 3: with relu, p(Mark Twain) <= 1/3 in both models.

  A pooled state c has no negative entry, and the scores are [-c2, c1, 2 c1 - c2]. So the
  first is at most the second and at most the third; and equal to both for c = 0.
  """
  quotes = jnp.asarray(np.random.default_rng(0).normal(size=(300, 3, 3)))
  y = run(lambda xs: scores(pool(relu_states(xs))))(quotes)
  p = np.asarray(jax.nn.softmax(y))
  assert (p[:, 0] <= p[:, 1]).all() and (p[:, 0] <= p[:, 2] + 1e-15).all()
  assert (p[:, 0] <= 1 / 3 + 1e-15).all()
  zeros = run(lambda xs: scores(pool(relu_states(xs))))(jnp.zeros((1, 3)))
  np.testing.assert_allclose(jax.nn.softmax(zeros), np.full(3, 1 / 3), rtol=1e-15)


@pytest.mark.parametrize("pool", [last, attended])
def test_with_tanh_mark_twain_gets_more(run, pool):
  """Part 3, problem 2, question 3: with tanh states can be negative.

  The one word [0 1 0] has W_hx x = [-1 -2], the state [-tanh 1, -tanh 2] and the scores
  [tanh 2, -tanh 1, tanh 2 - 2 tanh 1] = [.964 -.762 -.559].
  """
  y = run(lambda xs: scores(pool(tanh_states(xs))))(jnp.array([[0.0, 1, 0]]))
  one, two = np.tanh(1), np.tanh(2)
  np.testing.assert_allclose(y, [two, -one, two - 2 * one], rtol=1e-12)
  assert float(jax.nn.softmax(y)[0]) > 0.7


def test_a_third_follows_from_the_second_and_the_third_class(run):
  """Erratum of question 3. It states that p1 is at most p1, and at most p2: that allows 1/2.

  The classes that bound the first are the second and the third.
  """
  p = run(jax.nn.softmax)(jnp.array([1.0, 1.0, -5.0]))
  assert 0.49 < p[0] <= p[1]  # At most the second, and nearly 1/2.
  c = jnp.array([[0.0, 0], [0, 1], [1, 0], [2, 3], [0.1, 5]])
  y = run(scores)(c)
  np.testing.assert_allclose(y, [[-v, u, 2 * u - v] for u, v in c.tolist()], rtol=1e-15)
  assert (y[:, 0] <= y[:, 1]).all() and (y[:, 0] <= y[:, 2]).all()
