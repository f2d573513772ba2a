"""Attention over two tokens, copying tokens, and small examples by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, linear

pytestmark = pytest.mark.usefixtures("x64")

# Inputs A and B are rows; a key is x W_K, so the matrices are dlx's kernels unchanged.
TWO_TOKENS = np.array([[0.0, 1, 0], [2, 0, 1]])
W_KEY = np.array([[2.0, 0], [1, 0], [2, 1]])
W_QUERY = np.array([[1.0, 2], [0, 1], [1, 2]])
W_VALUE = np.array([[1.0, 0], [2, 1], [1, 2]])


def project(x):
  """Query, key and value of the tokens x (T, 3)."""
  return [linear.apply({"kernel": jnp.asarray(w)}, x) for w in (W_QUERY, W_KEY, W_VALUE)]


def two_tokens(x):
  """(weights, outputs) with the scores not scaled, as the exercise asks."""
  query, key, value = (p[None] for p in project(x))  # One head.
  weights = attention.weights(query, key, scale=1.0)
  return weights[0], attention.dot_product_attention(query, key, value, scale=1.0)[0]


def test_two_tokens_have_the_printed_keys_queries_and_values(run):
  """Problem Set 3 of CSCI 5922, question 3, solution of problem 3 a.

  A = [0 1 0] and B = [2 0 1] are multiplied from the left to the three matrices above:
  keys [1 0], [6 1], queries [0 1], [3 6], values [2 1], [3 2].
  """
  query, key, value = run(project)(jnp.asarray(TWO_TOKENS))
  np.testing.assert_array_equal(query, [[0, 1], [3, 6]])
  np.testing.assert_array_equal(key, [[1, 0], [6, 1]])
  np.testing.assert_array_equal(value, [[2, 1], [3, 2]])


def test_two_tokens_attend_with_the_printed_weights(run):
  """Problem Set 3 of CSCI 5922, question 3, solution of problem 3.

  Scores are A: 0, 1 and B: 3, 24; so the weights of A are 1/(1+e) and e/(1+e), printed
  0.2689 and 0.7311 (in part b), those of B e^-21 = 7.58e-10 and the rest. The outputs
  are [2.7311 1.7311] and [3 2].
  """
  weights, outputs = run(two_tokens)(jnp.asarray(TWO_TOKENS))
  np.testing.assert_allclose(weights[0], [0.2689, 0.7311], rtol=0, atol=5e-5)
  assert float(weights[1, 0]) == pytest.approx(7.58e-10, abs=0.005e-10)
  small = np.exp(-21.0) / (1 + np.exp(-21.0))
  np.testing.assert_allclose(weights, [[1 / (1 + np.e), np.e / (1 + np.e)], [small, 1 - small]])
  np.testing.assert_allclose(outputs[0], [2.7311, 1.7311], rtol=0, atol=5e-5)
  np.testing.assert_allclose(outputs[1], [3 - small, 2 - small], rtol=1e-14)
  np.testing.assert_allclose(outputs[1], [3, 2], rtol=0, atol=1e-9)


def test_the_second_query_belongs_to_input_b(run):
  """Erratum. Both queries are headed "Input A"; [3 6] is that of B."""
  query, _, _ = run(project)(jnp.asarray(TWO_TOKENS))
  np.testing.assert_array_equal(query[1], [3, 6])
  assert not np.array_equal(query[0], [3, 6])


def test_the_weights_are_rounded_not_truncated(run):
  """Erratum. Printed 0.7310, 0.9999 and 7.5E-10 are cut off; rounded they are others."""
  weights, _ = run(two_tokens)(jnp.asarray(TWO_TOKENS))
  assert f"{weights[0, 1]:.4f}" == "0.7311" != "0.7310"
  assert f"{weights[1, 1]:.4f}" == "1.0000" != "0.9999"
  assert f"{weights[1, 0]:.1e}" == "7.6e-10" != "7.5e-10"


def test_the_weights_of_a_compare_two_products(run):
  """Erratum. The scores of A are (q_A k_A, q_A k_B), not the one product q_A k_A k_B."""
  x = jnp.asarray(TWO_TOKENS)
  query, key, _ = project(x)
  weights, _ = run(two_tokens)(x)
  np.testing.assert_allclose(weights[0], jax.nn.softmax(key @ query[0]), rtol=1e-14)
  product = (query[0] @ key[0]) * key[1]  # The only way to multiply the three.
  assert not np.allclose(weights[0], jax.nn.softmax(product), atol=0.1)


def test_the_outputs_mix_both_values(run):
  """Erratum. The sum of A is written with the value of A twice, which would give [2 1].

  That of B has the value of B twice, which changes its output in the tenth digit only.
  """
  _, outputs = run(two_tokens)(jnp.asarray(TWO_TOKENS))
  of_a, of_b = np.array([[2, 1], [3, 2]])
  np.testing.assert_allclose(outputs[0], 0.2689 * of_a + 0.7311 * of_b, rtol=0, atol=1e-4)
  assert np.abs(outputs[0] - (0.2689 + 0.7311) * of_a).min() > 0.7
  np.testing.assert_allclose(outputs[1] - of_b, 7.58e-10 * (of_a - of_b), rtol=1e-3)


def test_earlier_tokens_reach_the_last_output_without_positions(run):
  """Erratum of problem 4: not position embeddings carry a word over many steps.

  The solution credits them with ending an RNN's fading memory. It is attention itself:
  with no positions at all, the last of 20 outputs depends on the first token as much as
  on the 19th when the two are equal.
  """
  x = jnp.asarray(np.random.default_rng(0).normal(size=(20, 3)) / 10)
  x = x.at[0].set(x[18])

  def last_output(x):
    query, key, value = (p[None] for p in project(x))
    return attention.dot_product_attention(query, key, value)[0, -1].sum()

  d_x = run(jax.grad(last_output))(x)
  assert np.abs(d_x[0]).max() > 1e-3
  np.testing.assert_allclose(d_x[0], d_x[18], rtol=1e-12)


BETAS = (0.25, 0.5, 1.0, 2.0, 4.0, 6.0)  # The norm of a, b, c and d, which are orthogonal.
TOKENS = np.array([[0, 1, 0, 1], [1, 0, 0, 0], [0, 1, 1, 0]], float)  # d+b, a, c+b for beta = 1.


def self_attention(x):
  """The basic definition: x is query, key and value, and scores are not scaled."""
  return attention.dot_product_attention(x[None], x[None], x[None], scale=1.0)[0]


def test_copying_tokens_have_norms_root_two_one_and_root_two(run):
  """Homework 3 (March 2023), question 3 a: |d+b| = |c+b| = sqrt(2) beta, |a| = beta."""
  # The scores of a token with itself are its squared norm: here by way of the weights.
  attend = run(lambda x: attention.weights(x[None], x[None], scale=1.0)[0])
  for beta in BETAS[:4]:
    weights = attend(jnp.asarray(beta * TOKENS))
    norms = np.sqrt(np.log(np.diag(weights) / weights[[0, 1, 2], [1, 0, 1]]))
    np.testing.assert_allclose(norms, beta * np.sqrt([2, 1, 2]), rtol=1e-9)


def test_attention_copies_its_input(run):
  """Homework 3 (March 2023), question 3 b, c: y_1, y_2, y_3 are about x_1, x_2, x_3.

  Orthogonal vectors of norm beta give the scores beta^2 [[2 0 1] [0 1 0] [1 0 2]]: each
  token matches itself best, by at least beta^2. With u = exp(-beta^2) the weights are
  [1 u^2 u] / (1 + u + u^2) and [u 1 u] / (1 + 2u), so attention copies its input, but
  for terms of the order u. Relative to beta, the difference falls from nearly that of a mean
  of the three tokens to nothing as beta grows: that is why it has to be "very large".
  """
  attend, left = run(self_attention), []
  for beta in BETAS:
    y, u = attend(jnp.asarray(beta * TOKENS)), np.exp(-(beta**2))
    first, second = np.array([1, u * u, u]), np.array([u, 1, u])
    weights = np.array([first / first.sum(), second / second.sum(), first[::-1] / first.sum()])
    np.testing.assert_allclose(y, beta * weights @ TOKENS, rtol=1e-12, atol=1e-15)
    left.append(np.abs(y - beta * TOKENS).max() / beta)
    assert left[-1] < 2 * u + 1e-15  # The second row gives 2u to the others.
  assert (np.diff(left) < 0).all() and left[0] > 0.6 and left[-1] < 1e-14


Q = np.array([[1.0, 2], [3, 4], [5, 6]])
K = np.array([[2.0, 1], [4, 3]])
V = np.array([[0.5, 1.0], [1.5, 2.0]])


def test_three_queries_and_two_keys(run):
  """Modern architecture, question 6: attention of Q (3, 2) over K, V (2, 2), d_k = 2.

  Q K^T is [[4 10] [10 24] [16 38]]. Divided by sqrt(2), the two scores of a row differ
  by 6, 14 and 22 over sqrt(2), so the second weights are logistic functions of 4.2426,
  9.8995 and 15.5563. V's rows differ by 1 in each column: the output is V's first row
  plus the second weight. It has a row for each query and a column for each of V's:
  (3, 2). The source prints no solution; these are ours, by hand.
  """

  def attend(q, k, v):
    weights = attention.weights(q[None], k[None])[0]
    return weights, attention.dot_product_attention(q[None], k[None], v[None])[0]

  q, k, v = jnp.asarray(Q), jnp.asarray(K), jnp.asarray(V)
  scores = run(lambda q, k: linear.apply({"kernel": k.T}, q))(q, k)
  np.testing.assert_array_equal(scores, [[4, 10], [10, 24], [16, 38]])
  np.testing.assert_allclose(
      scores / 2**0.5, [[2.8284, 7.0711], [7.0711, 16.9706], [11.3137, 26.8701]], atol=5e-5
  )
  weights, output = run(attend)(q, k, v)
  second = 1 / (1 + np.exp(-np.array([6, 14, 22]) / np.sqrt(2)))
  np.testing.assert_allclose(weights, np.stack([1 - second, second], -1), rtol=1e-9)
  np.testing.assert_allclose(
      weights, [[0.01417, 0.98583], [0.00005, 0.99995], [0.0, 1.0]], rtol=0, atol=5e-6
  )
  assert output.shape == (3, 2)
  np.testing.assert_allclose(output, V[0] + second[:, None], rtol=1e-14)
  np.testing.assert_allclose(
      output, [[1.4858, 1.9858], [1.4999, 1.9999], [1.5, 2.0]], rtol=0, atol=5e-5
  )


def test_multi_head_projections_of_a_width_of_eight():
  """Modern architecture, question 7: T = 4, d_model = 8, two heads of d_k = d_v = 4.

  W_i^Q, W_i^K and W_i^V are (8, 4). Side by side, the two heads' make dlx's kernels of
  (8, 8). W^O maps the concatenated (4, 8) back to the width of the input: (8, 8).
  """
  params = jax.eval_shape(lambda: attention.init(jax.random.key(0), 8, bias=False))
  kernels = {name: layer["kernel"].shape for name, layer in params.items()}
  assert kernels == {name: (8, 8) for name in ("query", "key", "value", "out")}
  assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 2 * 3 * 8 * 4 + 8 * 8


def test_multi_head_is_the_concatenated_heads_times_w_o(run):
  """Modern architecture, question 7: the whole expression, written head by head.

  head_i = softmax((X W_i^Q)(X W_i^K)^T / sqrt(4)) (X W_i^V) is (4, 4): a product
  (4, 8) x (8, 4) for each projection, (4, 4) scores, (4, 4) values. Two of them side by
  side are C (4, 8), and C W^O is (4, 8), the shape of the input.
  """
  rng = np.random.default_rng(0)
  names = ("query", "key", "value", "out")
  kernels = {name: rng.normal(size=(8, 8)) / 8**0.5 for name in names}
  x = rng.normal(size=(4, 8))
  heads = []
  for i in (0, 1):
    w_q, w_k, w_v = (kernels[name][:, 4 * i : 4 * i + 4] for name in names[:3])
    e = np.exp((x @ w_q) @ (x @ w_k).T / np.sqrt(4))
    heads.append(e / e.sum(-1, keepdims=True) @ (x @ w_v))
    assert heads[-1].shape == (4, 4)
  concatenated = np.concatenate(heads, axis=-1)
  assert concatenated.shape == (4, 8)
  params = {name: {"kernel": jnp.asarray(kernel)} for name, kernel in kernels.items()}
  y = run(lambda p, x: attention.multi_head(p, x, num_heads=2))(params, jnp.asarray(x))
  assert y.shape == x.shape
  np.testing.assert_allclose(y, concatenated @ kernels["out"], rtol=1e-12, atol=1e-13)
