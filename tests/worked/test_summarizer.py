"""The news summarizer: encoder states, greedy words, attention. Final exam of February 12, 2022."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, decoding, embedding, linear, rnn

pytestmark = pytest.mark.usefixtures("x64")

WORDS = ["Deep", "learning", "works", "!!!", "#deep", "lol", "<stop>"]
TABLE = np.array([[0.0, 1], [1, 0], [-1, -1], [2, -1], [-1, 2], [0, -1], [1, 1]])
# The exam's matrices multiply columns from the left; a kernel is the transpose of such.
RNN = {"input": np.array([[0.0, -1], [2, 0], [1, 1]]).T, "hidden": np.eye(3), "bias": np.zeros(3)}
OUTPUT = np.array(
    [[0.0, -1, 0], [0, 1, -1], [-2, 1, 0], [0, 0, -1], [1, 2, 0], [0, 0, 0], [-2, 0, 1]]
).T


def product(matrix, x):
  return linear.apply({"kernel": jnp.asarray(matrix)}, x)


def read(words):
  """The embeddings of the words."""
  return embedding.lookup({"embedding": jnp.asarray(TABLE)}, words)


def step(h, word):
  """h' = relu(W_hx x + W_hh h)."""
  params = jax.tree.map(jnp.asarray, RNN)
  return rnn.cell(params, h, read(word), activation=jax.nn.relu)


def encode(words):
  """(last state, all states) from a zero state, whose steps are `step`."""
  params = jax.tree.map(jnp.asarray, RNN)
  return rnn.scan(params, read(words), activation=jax.nn.relu)


def test_the_encoder_reads_deep_learning_works(run):
  """Part 3, problem 2, question 1: the states of "Deep learning works <stop>" from h_0 = 0.

  h_1 = [0 0 1], h_2 = [0 2 2], h_3 = [1 0 0], h_4 = [0 2 2].
  """
  words = jnp.array([WORDS.index(w) for w in ("Deep", "learning", "works", "<stop>")])
  last, states = run(encode)(words)
  np.testing.assert_array_equal(states, [[0, 0, 1], [0, 2, 2], [1, 0, 0], [0, 2, 2]])
  np.testing.assert_array_equal(last, [0, 2, 2])


def test_greedy_decoding_says_hash_deep_and_stops(run):
  """Part 3, problem 2, question 2: the first two words after h_4 = [0 2 2].

  The scores W_yh h_4 are [-2 0 2 -2 4 0 2], the largest is "#deep". Read back in, it
  makes h_5 = relu([-2 -2 1] + [0 2 2]) = [0 0 3] and the scores [0 -3 0 -3 0 0 3]:
  "<stop>". The decoder shares the encoder's parameters.
  """

  def next_scores(h, word):
    h, _ = step(h, word)
    return h, product(OUTPUT, h)

  def tweet(h):
    scores = product(OUTPUT, h)
    words, _ = decoding.generate(jax.random.key(0), next_scores, h, scores, 2, temperature=0)
    return scores, words, next_scores(h, words[0])

  scores, words, (h, second_scores) = run(tweet)(jnp.array([0.0, 2, 2]))
  np.testing.assert_array_equal(scores, [-2, 0, 2, -2, 4, 0, 2])
  np.testing.assert_array_equal(h, [0, 0, 3])
  np.testing.assert_array_equal(second_scores, [0, -3, 0, -3, 0, 0, 3])
  assert [WORDS[i] for i in words] == ["#deep", "<stop>"]
  assert int(decoding.greedy(second_scores)) == WORDS.index("<stop>")


def test_the_decoder_attends_to_the_three_words(run):
  """Part 3, problem 2, question 3: h_4 queries h_1, h_2, h_3, which are keys and values.

  Scores 2, 8 and 0 over sqrt(3); their exponentials sum to 105.546; the probabilities
  are [.030 .960 .009] and the context [.009 1.921 1.951].
  """
  query = jnp.array([[0.0, 2, 2]])[None]
  states = jnp.array([[0.0, 0, 1], [0, 2, 2], [1, 0, 0]])[None]
  p = run(attention.weights)(query, states)[0, 0]
  context = run(attention.dot_product_attention)(query, states, states)[0, 0]
  e = np.exp(np.array([2, 8, 0]) / np.sqrt(3))
  assert e.sum() == pytest.approx(105.546, abs=5e-4)
  np.testing.assert_allclose(p, e / e.sum(), rtol=1e-12)
  np.testing.assert_allclose(p, [0.030, 0.960, 0.009], rtol=0, atol=5e-4)
  np.testing.assert_allclose(context, [0.009, 1.921, 1.951], rtol=0, atol=5e-4)


def test_a_score_is_an_inner_product(run):
  """Erratum of question 3. s_1 is written [0 2 2]^T [0 0 1], and so are s_2 and s_3.

  The exam's vectors are columns, [..]^T: the printed product is an outer product, 3 x 3. The
  score is [0 2 2] [0 0 1]^T / sqrt(3) = 2 / sqrt(3): the logarithm of the ratio of its weight
  to that of h_3, whose score is 0.
  """
  query, states = jnp.array([[[0.0, 2, 2]]]), jnp.array([[[0.0, 0, 1], [0, 2, 2], [1, 0, 0]]])
  p = run(attention.weights)(query, states)[0, 0]
  scores = np.log(p / p[2])
  np.testing.assert_allclose(scores, np.array([2, 8, 0]) / np.sqrt(3), rtol=1e-12, atol=1e-15)
  as_written = query[0].T @ states[0, :1]
  np.testing.assert_array_equal(as_written, [[0, 0, 0], [0, 0, 2], [0, 0, 2]])
