"""The gradient of attention term by term, and statements of the course notes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import attention as gradients
from dlx.gradients import softmax
from dlx.layers import attention, positional

pytestmark = pytest.mark.usefixtures("x64")

# Three queries and two keys with d_k = 2, as in question 6 of "Modern architecture".
QUERY = np.array([[1.0, 2], [3, 4], [5, 6]])[None] / 8
KEY = np.array([[2.0, 1], [4, 3]])[None]
VALUE = np.array([[0.5, 1.0], [1.5, 2.0]])[None]
D_OUT = np.array([[1.0, -2.0], [0.5, 3.0], [-1.0, 4.0]])[None]


def draw(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def attend(x, **options):
  """x is query, key and value of one head."""
  return attention.dot_product_attention(x[None], x[None], x[None], **options)[0]


def test_the_gradient_of_the_queries_by_the_chain_rule(run):
  """Modern architecture, question 8 a: dL/dQ from dL/dOutput, A, V and K.

  dL/dA = dL/dO V^T. Row by row through the softmax, dL/dS = A * (dL/dA - the row's sum
  of A * dL/dA). S = Q K^T / sqrt(d_k), so dL/dQ = dL/dS K / sqrt(d_k). No solution is
  printed.
  """
  query, key, value, d_out = (jnp.asarray(v) for v in (QUERY, KEY, VALUE, D_OUT))
  weights = attention.weights(query, key)[0]
  d_weights = d_out[0] @ value[0].T
  d_scores = weights * (d_weights - (weights * d_weights).sum(-1, keepdims=True))
  d_query = run(
      lambda *qkv: gradients.dot_product_attention_vjp(*qkv, d_out=d_out)[0]
  )(query, key, value)
  assert d_query.shape == query.shape
  np.testing.assert_allclose(d_query[0], d_scores @ key[0] / np.sqrt(2), rtol=1e-12)


def test_every_score_of_a_row_changes_all_its_weights(run):
  """Modern architecture, question 8 b: dp_i/dz_j = p_i ([i = j] - p_j).

  Through its Jacobian diag(p) - p p^T a softmax ties the scores of a row together: each
  row and column of it sums to zero, so only differences of dL/dA within a row count.
  """
  z = jnp.array([1.0, 2.0, 4.0])
  p = np.exp(z) / np.exp(z).sum()
  jacobian = run(softmax.softmax_jacobian)(z)
  for i in range(3):
    for j in range(3):
      assert float(jacobian[i, j]) == pytest.approx(p[i] * ((i == j) - p[j]), rel=1e-12)
  np.testing.assert_allclose(jacobian.sum(0), 0, atol=1e-16)
  vjp = run(lambda z, d: softmax.softmax_vjp(z, d_out=d))
  d_p = jnp.array([1.0, -2.0, 3.0])
  np.testing.assert_allclose(vjp(z, d_p), vjp(z, d_p + 5), rtol=1e-12)


def test_the_scale_keeps_the_variance_of_scores_at_one_and_the_softmax_unsaturated(run):
  """Modern architecture, question 8 c: why 1/sqrt(d_k).

  q k is a sum of d_k products of variance 1, so it has variance d_k; divided by
  sqrt(d_k), 1. The variance of the logarithms of a row of weights shows it, as scores less
  their row's constant: over d_k it is a line of slope 1, or level. With it p_i (1 - p_i), and
  with that the gradient with respect to the scores, falls, or stays.
  """
  widths, slopes = (4, 32, 256), {}
  for scale in (None, 1.0):
    weights = run(lambda q, k, scale=scale: attention.weights(q, k, scale=scale))
    drawn = [weights(draw(1, 300, d, seed=1), draw(1, 100, d, seed=2)) for d in widths]
    variance = [float(np.log(p).var(-1, ddof=1).mean()) for p in drawn]
    np.testing.assert_allclose(variance, widths if scale else np.ones(3), rtol=0.1)
    slopes[scale] = [float((p * (1 - p)).mean()) for p in drawn]
  np.testing.assert_allclose(slopes[None], slopes[None][0], rtol=0.05)
  assert (np.diff(slopes[1.0]) < 0).all() and slopes[1.0][-1] < slopes[None][-1] / 5


def test_attention_is_not_a_linear_map(run):
  """Erratum of the notes, Attention: self-attention is called a linear operation.

  Only given its weights is it linear in the values. Doubling the tokens doubles the
  values but also changes the weights.
  """
  x = draw(4, 3)
  y, of_double = run(attend)(x), run(attend)(2 * x)
  assert np.abs(of_double - 2 * y).max() > 0.1
  given_weights = run(lambda v: attention.dot_product_attention(x[None], x[None], v[None]))
  np.testing.assert_allclose(given_weights(2 * x), 2 * given_weights(x), rtol=1e-12)


def test_scaled_dot_product_attention_has_one_head(run):
  """Erratum of the notes, Attention: it is called a layer with multiple heads.

  It is what a single head computes: with unit projections, multi-head attention equals
  it for one head, and not for two.
  """
  x, unit = draw(4, 6), {"kernel": jnp.eye(6)}
  params = {name: unit for name in ("query", "key", "value", "out")}
  one = run(lambda x: attention.multi_head(params, x, num_heads=1))(x)
  two = run(lambda x: attention.multi_head(params, x, num_heads=2))(x)
  np.testing.assert_allclose(one, run(attend)(x), rtol=1e-12)
  assert np.abs(two - run(attend)(x)).max() > 1e-2


def test_scores_come_from_queries_and_keys_not_from_the_inputs(run):
  """Erratum of the notes, Attention: e_ij = x_i x_j / sqrt(d_k) beside Q = X W_q, K = X W_k.

  Without matrix products it is e_ij = q_i k_j / sqrt(d_k). The two agree only when W_q and
  W_k are the unit matrix.
  """
  x, w_q, w_k = draw(4, 3), draw(3, 3, seed=1), draw(3, 3, seed=2)

  def weights(w_q, w_k):
    return attention.weights((x @ w_q)[None], (x @ w_k)[None])[0]

  def softmax_of(e):
    return np.exp(e) / np.exp(e).sum(-1, keepdims=True)

  q, k = np.asarray(x @ w_q), np.asarray(x @ w_k)
  right = [[sum(q[i] * k[j]) / np.sqrt(3) for j in range(4)] for i in range(4)]
  printed = [[sum(x[i] * x[j]) / np.sqrt(3) for j in range(4)] for i in range(4)]
  np.testing.assert_allclose(run(weights)(w_q, w_k), softmax_of(np.array(right)), rtol=1e-12)
  assert np.abs(weights(w_q, w_k) - softmax_of(np.array(printed))).max() > 0.1
  np.testing.assert_allclose(
      run(weights)(jnp.eye(3), jnp.eye(3)), softmax_of(np.array(printed)), rtol=1e-12
  )


def test_a_query_over_the_inputs_is_the_column_form_of_the_same(run):
  """Notes, Attention: z = X q / sqrt(d_k), alpha = softmax(z), c = X^T alpha.

  q and c are columns there; here the query is one row, and X is both keys and values.
  """
  x, q = draw(4, 3), draw(3, seed=1)
  z = np.asarray(x @ q) / np.sqrt(3)
  alpha = np.exp(z) / np.exp(z).sum()
  context = run(lambda q: attention.dot_product_attention(q[None, None], x[None], x[None]))(q)
  np.testing.assert_allclose(context[0, 0], np.asarray(x).T @ alpha, rtol=1e-12)


def test_permuted_words_give_permuted_outputs(run):
  """Final exam of February 12, 2022, part 2, question 2; also in the notes.

  Without positions, permuting the tokens permutes the outputs the same way. With
  position vectors added, here the sinusoids, it does not: that is their purpose.
  """
  x, order = draw(5, 4), np.array([3, 0, 4, 1, 2])
  np.testing.assert_allclose(run(attend)(x[order]), run(attend)(x)[order], rtol=1e-12)
  placed = run(lambda x: attend(positional.add_sinusoidal(x)))
  moved, kept = placed(x[order]), placed(x)[order]
  assert np.abs(moved - kept).max() > 0.1


def test_causal_masking_hides_the_future(run):
  """Notes, Transformers: in training the decoder's self-attention masks future words.

  Output t has a zero derivative with respect to every later input, and only then.
  """
  x = draw(4, 3)
  masked = run(jax.jacobian(lambda x: attend(x, is_causal=True).sum(-1)))(x)
  open_ = run(jax.jacobian(lambda x: attend(x).sum(-1)))(x)
  for t in range(4):
    np.testing.assert_array_equal(masked[t, t + 1 :], 0)
    assert (np.abs(masked[t, : t + 1]).max(-1) > 1e-4).all()
    assert (np.abs(open_[t]).max(-1) > 1e-4).all()


def test_self_attention_reads_one_sequence_and_encoder_decoder_attention_two(run):
  """Erratum of the notes, Attention: self-attention is called an encoder-decoder architecture.

  It maps a sequence to one of the same length, each position a query, key and value. Attention
  between a decoder and an encoder has its queries from the one and keys and values from the
  other: as many outputs as the target has words, and no path from one word of it to another.
  """
  source, target = draw(5, 4), draw(3, 4, seed=1)
  params = {name: {"kernel": draw(4, 4, seed=2 + i)} for i, name in enumerate(
      ("query", "key", "value", "out"))}  # fmt: skip
  alone = run(lambda x: attention.multi_head(params, x, num_heads=2))
  between = run(lambda x, context: attention.multi_head(params, x, context, num_heads=2))
  changed = target.at[0].add(1)
  of_target, of_both = alone(target), between(target, source)
  assert of_target.shape == of_both.shape == (3, 4)
  np.testing.assert_allclose(between(changed, source)[1:], of_both[1:], rtol=1e-12)
  assert np.abs(alone(changed)[1:] - of_target[1:]).max() > 0.05
