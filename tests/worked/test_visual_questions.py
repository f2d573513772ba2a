"""The visual question network, to its answer. Final exam of January 25, 2023."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, decoding, linear

pytestmark = pytest.mark.usefixtures("x64")

WORDS = np.array([[-1.0, 0, 1], [1, -1, 0], [-1, -1, -1]])  # How, many, cows: one a row.
POSITIONS = np.eye(3)
W_QKV = np.array([[0.0, 2], [-1, 0], [2, 1]])
IMAGE = np.array([[1.0, 1], [1, 1], [0, 0], [4, 4]])
ANSWERS = ["One", "Two", "Three"]
A = np.array([[2.0, 0, 1, 0], [-1, -2, 0, 2], [0, -1, 2, 1]])  # b is zero.


def project(words):
  """Q, which is also K and V. The words are rows, X W: the matrix is a kernel as it stands."""
  return linear.apply({"kernel": jnp.asarray(W_QKV)}, words + POSITIONS)


def question(words):
  """(P, Z, q): the attention of the words, its outputs, and their mean."""
  x = project(words)[None]  # One head.
  z = attention.dot_product_attention(x, x, x)[0]
  return attention.weights(x, x)[0], z, z.mean(0)


def answer(q):
  """(a, c, s): the attention over the image, its context, and the scores of the answers.

  A multiplies the column [q; c] from the left, so the kernel is its transpose.
  """
  query, image = q[None, None], jnp.asarray(IMAGE)[None]
  c = attention.dot_product_attention(query, image, image)[0, 0]
  s = linear.apply({"kernel": jnp.asarray(A.T)}, jnp.concatenate([q, c]))
  return attention.weights(query, image)[0, 0], c, s


def test_words_plus_positions_are_projected(run):
  """Part 3, problem 2, question 1: Q, K and V of "How many cows".

  Words [-1 0 1], [1 -1 0], [-1 -1 -1] plus the unit vectors as positions are the rows
  [0 0 1], [1 0 0], [-1 -1 0]; times the matrix above they are [2 1], [0 2], [1 -2].
  """
  np.testing.assert_array_equal(WORDS + POSITIONS, [[0, 0, 1], [1, 0, 0], [-1, -1, 0]])
  np.testing.assert_array_equal(run(project)(jnp.asarray(WORDS)), [[2, 1], [0, 2], [1, -2]])


def test_the_question_vector(run):
  """Part 3, problem 2, question 2: self-attention of the words, then their mean.

  Scores [5 2 0], [2 4 -4], [0 -4 5] over sqrt(2); probabilities [.87 .10 .03],
  [.20 .80 .00], [.03 .00 .97]; outputs [1.77 1.03], [.39 1.79], [1.03 -1.91]; their
  mean is q = [1.06 .30].
  """
  p, z, q = run(question)(jnp.asarray(WORDS))
  e = np.exp(np.array([[5, 2, 0], [2, 4, -4], [0, -4, 5]]) / np.sqrt(2))
  right = e / e.sum(-1, keepdims=True)
  np.testing.assert_allclose(p, right, rtol=1e-12)
  np.testing.assert_allclose(z, right @ np.array([[2, 1], [0, 2], [1, -2]]), rtol=1e-12)
  printed = [[0.87, 0.10, 0.03], [0.20, 0.80, 0.00], [0.03, 0.00, 0.97]]
  np.testing.assert_allclose(p, printed, rtol=0, atol=5e-3)
  np.testing.assert_allclose(z, [[1.77, 1.03], [0.39, 1.79], [1.03, -1.91]], rtol=0, atol=5e-3)
  np.testing.assert_allclose(q, [1.06, 0.30], rtol=0, atol=5e-3)


def test_there_are_three_cows(run):
  """Part 3, problem 2, question 3: q attends over the image, and an answer is scored.

  The image's vectors [1 1], [1 1], [0 0], [4 4] get [.05 .05 .02 .88], the context is
  [3.63 3.63], the scores of One, Two, Three are [5.8 5.6 10.6]: "Three". These are
  the values from an unrounded q.
  """

  def network(words):
    return answer(question(words)[2])

  a, c, s = run(network)(jnp.asarray(WORDS))
  np.testing.assert_allclose(a, [0.05, 0.05, 0.02, 0.88], rtol=0, atol=5e-3)
  np.testing.assert_allclose(c, [3.63, 3.63], rtol=0, atol=5e-3)
  np.testing.assert_allclose(s, [5.8, 5.6, 10.6], rtol=0, atol=5e-2)
  assert ANSWERS[int(decoding.greedy(s))] == "Three"
  assert float(jax.nn.softmax(s)[2]) > 0.98


def test_the_answer_from_the_rounded_question_vector(run):
  """Part 3, problem 2, question 3, from the q = [1.06 .30] that it says to assume.

  Scores q i / sqrt(2) are 1.36 / sqrt(2) = .9617 twice, 0, and four times that.
  """
  a, c, s = run(answer)(jnp.array([1.06, 0.30]))
  e = np.exp(np.array([1, 1, 0, 4]) * 1.36 / np.sqrt(2))
  context = (2 * e[0] + 4 * e[3]) / e.sum()
  np.testing.assert_allclose(a, e / e.sum(), rtol=1e-12)
  np.testing.assert_allclose(a, [0.05, 0.05, 0.02, 0.88], rtol=0, atol=5e-3)
  np.testing.assert_allclose(c, [context, context], rtol=1e-12)
  np.testing.assert_allclose(c, [3.63, 3.63], rtol=0, atol=5e-3)
  np.testing.assert_allclose(
      s, [2.12 + context, -1.66 + 2 * context, -0.30 + 3 * context], rtol=1e-12
  )
  np.testing.assert_allclose(s[1:], [5.6, 10.6], rtol=0, atol=5e-2)
  assert ANSWERS[int(decoding.greedy(s))] == "Three"


def test_the_first_score_depends_on_where_one_rounds(run):
  """Erratum. From q = [1.06 .30] the score of "One" is 5.749, which is 5.7 and not 5.8.

  2 (1.06) + 3.63 = 5.75 is rounded up after c = 3.6289 was rounded up too.
  """
  _, _, s = run(answer)(jnp.array([1.06, 0.30]))
  assert f"{s[0]:.4f}" == "5.7489"
  assert f"{s[0]:.1f}" == "5.7" != "5.8"


def test_the_projections_are_three_by_two(run):
  """Erratum. The projections are said to be 2 x 3 matrices; in X W, as solved, they are 3 x 2.

  A 2 x 3 kernel does not take words of 3 features.
  """
  assert W_QKV.shape == (3, 2) != (2, 3)
  assert run(project)(jnp.asarray(WORDS)).shape == (3, 2)
  with pytest.raises(ValueError, match="x: expected a last dimension of 2, got shape"):
    run(linear.apply)({"kernel": jnp.asarray(W_QKV.T)}, jnp.asarray(WORDS))
