"""The two image captioners, without and with attention. Final exam of February 10, 2023."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, decoding, embedding, linear, rnn

pytestmark = pytest.mark.usefixtures("x64")

WORDS = ["<start>", "<stop>", "fish", "seagull", "flying", "fishing"]
EMBEDDING = np.array([[0.0, 0, 0], [1, 1, 1], [-1, 2, 0], [1, -2, 0], [0, -1, -1], [0, 2, 1]])
IMAGE = np.array([[4.0, 0], [0, 4], [0, 0], [0, 0]])
W_HX = np.array([[1.0, 0, 1, 1, 0], [0, 1, 1, 0, 1]])
W_HH = np.array([[0.0, 1], [1, 0]])
W_YH = np.array([[-5.0, -5], [0, 3], [1, 2], [2, 2], [3, -1], [2.9, 0]])


def times(matrix, x):
  """W x for a column x: the kernel of dlx is the transpose. All biases are zero."""
  return linear.apply({"kernel": jnp.asarray(matrix.T)}, x)


def averaged(h):
  """c, the same at every step: the mean of the image's vectors."""
  del h
  return jnp.asarray(IMAGE).mean(0)


def image_weights(h, **options):
  """p: how much the state h attends to each of the image's vectors."""
  return attention.weights(h[None, None], jnp.asarray(IMAGE)[None], **options)[0, 0]


def attended(h):
  """c_t: the image features attended to by the last state."""
  image = jnp.asarray(IMAGE)[None]
  return attention.dot_product_attention(h[None, None], image, image)[0, 0]


def read(word, c):
  """x = [y; c]: the embedding of the last word and an image vector side by side."""
  return jnp.concatenate([embedding.lookup({"embedding": jnp.asarray(EMBEDDING)}, word), c])


def update(h, word, c):
  """h' = relu(W_hx x + W_hh h)."""
  params = {"input": jnp.asarray(W_HX.T), "hidden": jnp.asarray(W_HH.T), "bias": jnp.zeros(2)}
  return rnn.cell(params, h, read(word, c), activation=jax.nn.relu)[0]


def caption(image_vector, length):
  """(ids, states, scores) of greedy decoding from a zero state and <start>."""

  def step(h, word):
    h = update(h, word, image_vector(h))
    return h, times(W_YH, h)

  def decode(start):
    h, scores = step(jnp.zeros(2), start)
    rng = jax.random.key(0)  # Not used: temperature 0 is greedy.
    ids, _ = decoding.generate(rng, step, h, scores, length, temperature=0)
    h, states = jnp.zeros(2), []
    for word in [start, *ids[:-1]]:
      h, _ = step(h, word)
      states.append(h)
    return ids, jnp.stack(states), times(W_YH, jnp.stack(states))

  return decode


def test_the_mean_image_gives_seagull_flying_stop(run):
  """Part 3, problem 2, question 1: three greedy words with the mean image c = [1 1].

  States [1 1], [3 0], [0 2]; scores [-10 3 3 4 2 2.9], [-15 0 3 6 9 8.7] and
  [-10 6 4 4 -2 0], in the order <start>, <stop>, fish, seagull, flying, fishing.
  """
  np.testing.assert_array_equal(averaged(None), [1, 1])
  ids, states, scores = run(caption(averaged, 3))(jnp.array(WORDS.index("<start>")))
  np.testing.assert_array_equal(states, [[1, 1], [3, 0], [0, 2]])
  printed = [[-10, 3, 3, 4, 2, 2.9], [-15, 0, 3, 6, 9, 8.7], [-10, 6, 4, 4, -2, 0]]
  np.testing.assert_allclose(scores, printed, rtol=1e-14)
  assert [WORDS[i] for i in ids] == ["seagull", "flying", "<stop>"]


def test_a_zero_state_attends_evenly_so_the_first_word_stays(run):
  """Part 3, problem 2, question 2: with attention, and h_0 = 0 as the first query.

  All scores are 0, so the probabilities are 1/4 each and c_1 is the mean again, [1 1].
  """
  h = jnp.zeros(2)
  np.testing.assert_array_equal(run(image_weights)(h), [0.25, 0.25, 0.25, 0.25])
  np.testing.assert_array_equal(run(attended)(h), [1, 1])
  ids, states, _ = run(caption(attended, 1))(jnp.array(WORDS.index("<start>")))
  np.testing.assert_array_equal(states, [[1, 1]])
  assert [WORDS[i] for i in ids] == ["seagull"]


def test_attention_makes_the_second_word_fishing(run):
  """Part 3, problem 2, question 3: the second word with attention, h_1 = [1 1].

  Scores [4 4 0 0] / sqrt(2) give the probabilities .47209639 twice and .02790361 twice,
  c_2 = [1.88838556 1.88838556], h_2 = relu([2.888 -.112] + [1 1]) = [3.888 .888], scores
  [-23.9 2.7 5.7 9.6 10.8 11.3].
  """
  p = run(image_weights)(jnp.ones(2))
  e = np.exp(4 / np.sqrt(2))
  right = np.array([e, e, 1, 1]) / (2 * e + 2)
  np.testing.assert_allclose(p, right, rtol=1e-14)
  printed = [0.47209639, 0.47209639, 0.02790361, 0.02790361]
  np.testing.assert_allclose(p, printed, rtol=0, atol=5e-9)
  c = run(attended)(jnp.ones(2))
  np.testing.assert_allclose(c, [1.88838556, 1.88838556], rtol=0, atol=5e-9)
  ids, states, scores = run(caption(attended, 2))(jnp.array(WORDS.index("<start>")))
  np.testing.assert_allclose(states[1], 4 * right[:2] + [2, -1], rtol=1e-14)
  np.testing.assert_allclose(states[1], [3.888, 0.888], rtol=0, atol=5e-4)
  np.testing.assert_allclose(scores[1], [-23.9, 2.7, 5.7, 9.6, 10.8, 11.3], rtol=0, atol=5e-2)
  assert [WORDS[i] for i in ids] == ["seagull", "fishing"]


def test_the_scores_are_scaled_in_the_second_step_too(run):
  """Erratum of question 3. p_2 is first written softmax(I h_1), without the 1/sqrt(2).

  That would be .491 and .009; the numbers are those of the scaled form.
  """
  h = jnp.ones(2)
  unscaled = run(lambda h: image_weights(h, scale=1.0))(h)
  np.testing.assert_allclose(unscaled, [0.491, 0.491, 0.009, 0.009], rtol=0, atol=5e-4)
  p = run(image_weights)(h)
  np.testing.assert_allclose(p[:2], 0.47209639, rtol=0, atol=5e-9)
  assert np.abs(p - unscaled).min() > 0.01


def test_the_second_preactivation_is_rounded_not_truncated(run):
  """Erratum of question 3. W_hx x_2 is [2.888 -.112]; printed is -.111, truncated."""
  c = run(attended)(jnp.ones(2))
  z = run(lambda c: times(W_HX, read(jnp.array(WORDS.index("seagull")), c)))(c)
  assert [f"{v:.3f}" for v in z.tolist()] == ["2.888", "-0.112"]
  assert f"{z[1]:.3f}" != "-0.111"


def test_the_second_input_has_the_image_of_the_second_step(run):
  """Erratum of question 3. x_2 is written with c, the constant of question 1, for c_2.

  With c the state is [3 0] and the word "flying"; with c_2 it is "fishing".
  """
  h, seagull = jnp.ones(2), jnp.array(WORDS.index("seagull"))

  def word(c):
    h_2 = update(h, seagull, c)
    return h_2, decoding.greedy(times(W_YH, h_2))

  as_written, id_as_written = run(word)(averaged(h))
  right, id_right = run(word)(attended(h))
  np.testing.assert_array_equal(as_written, [3, 0])
  np.testing.assert_allclose(right, [3.888, 0.888], rtol=0, atol=5e-4)
  assert [WORDS[id_as_written], WORDS[id_right]] == ["flying", "fishing"]
