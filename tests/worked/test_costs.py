"""The cost of layers, counted in their traced programs: multiplications and chains of them."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import attention, conv, linear, rnn
from dlx.reports.costs import cost


def differences(count, m, n):
  """The second differences of count(m, n): in m, in n, and in both."""
  return (
      count(m + 2, n) - 2 * count(m + 1, n) + count(m, n),
      count(m, n + 2) - 2 * count(m, n + 1) + count(m, n),
      count(m + 1, n + 1) - count(m + 1, n) - count(m, n + 1) + count(m, n),
  )


def of_width(d):
  return {"kernel": jnp.zeros((d, d))}


def recurrence(d):
  return {"input": jnp.zeros((d, d)), "hidden": jnp.zeros((d, d)), "bias": jnp.zeros(d)}


def windows(x, r):
  """The r positions around each position of x (n, d), and whether they exist: (n, r, d), (n, r)."""
  index = np.arange(len(x))[:, None] + np.arange(r) - r // 2
  inside = (index >= 0) & (index < len(x))
  return x[np.where(inside, index, 0)], inside


def restricted(x, r):
  """Self-attention of x (n, d) in which each position sees the r around it."""
  near, inside = windows(x, r)
  near, query, mask = near[:, None], x[:, None, None], inside[:, None, None]
  return attention.dot_product_attention(query, near, near, mask=mask)[:, 0, 0]


def full(x):
  return attention.dot_product_attention(x[None], x[None], x[None])[0]


def convolved(x, k, dilation=1):
  """x (n, d) convolved with k positions, all weights one, causally padded."""
  d, reach = x.shape[-1], (k - 1) * dilation
  params = {"kernel": jnp.ones((1, k, d, d))}
  padding = ((0, 0), (reach, 0))
  return conv.apply(params, x[None], padding=padding, dilation=(1, dilation))[0]


def recurrent(x):
  return rnn.scan(recurrence(x.shape[-1]), x)[1]


LAYERS = {  # The row of the table, and the multiplications as a function of n, d, r = k.
    "self-attention": (lambda x, r: full(x), lambda n, d, r: 2 * n * n * d),
    "recurrent": (lambda x, r: recurrent(x), lambda n, d, r: 2 * n * d * d),
    "convolution": (convolved, lambda n, d, r: r * n * d * d),
    "restricted": (restricted, lambda n, d, r: 2 * r * n * d),
}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("n, d, r", [(12, 4, 3), (24, 4, 3), (12, 8, 3), (12, 4, 5)])
def test_the_multiplications_of_the_table(layer, n, d, r):
  """Notes, Computational cost: O(n^2 d), O(n d^2), O(k n d^2) and O(r n d), counted.

  Attention multiplies twice, for scores and for outputs; a recurrent step twice, by W and U.
  Erratum: the row of convolution has O(k^2 d) and runs into the one above it. Each of n d
  outputs is a sum of k d products; k^2 d does not know of n.
  """
  function, formula = LAYERS[layer]
  count, _ = cost(lambda x: function(x, r), jnp.zeros((n, d)))
  assert count == formula(n, d, r)


@pytest.mark.parametrize("n", [6, 12, 24])
def test_the_sequential_operations_of_the_table(n):
  """Notes, Computational cost: O(n) steps in a recurrent layer, O(1) in all others.

  Products that wait for each other: scores and then outputs in attention, one in a
  convolution. The recurrent layer multiplies by W for all steps at once, but by U in turn.
  """
  x = jnp.zeros((n, 4))
  chains = {name: cost(lambda x, f=f: f(x, 3), x)[1] for name, (f, _) in LAYERS.items()}
  assert chains == {
      "self-attention": 2, "recurrent": n, "convolution": 1, "restricted": 2
  }  # fmt: skip


def depth_until_connected(layer, n, d=2):
  """The least number of layers after which the last of n positions depends on the first."""
  x = jnp.asarray(np.random.default_rng(0).normal(size=(n, d)))
  changed = x.at[0].add(1)
  for depth in range(1, n + 1):
    x, changed = layer(x, depth), layer(changed, depth)
    if (x[-1] != changed[-1]).any():
      return depth


@pytest.mark.full
def test_the_longest_paths_of_the_table(x64):
  """Notes, Computational cost: paths of O(1), O(log_k n) and O(n / r) layers.

  One layer of self-attention joins all positions. Convolutions of k = 3 do so in log_3 n
  layers when layer i is dilated by 3^(i-1) (as the notes do not say); without, in (n - 1) / 2.
  Restricted to r = 3 positions, attention moves one position a layer. (A recurrent layer is
  one layer, but n steps of it: the test above.)
  """
  assert depth_until_connected(lambda x, i: full(x), 10) == 1
  for n, layers in ((9, 2), (10, 3)):  # 9 is 3^2.
    assert depth_until_connected(lambda x, i: convolved(x, 3, 3 ** (i - 1)), n) == layers
  assert depth_until_connected(lambda x, i: convolved(x, 3), 10) == math.ceil(9 / 2)
  assert depth_until_connected(lambda x, i: restricted(x, 3), 10) == 9


def test_restricted_attention_is_attention_under_a_band(run, x64):
  """Notes, Computational cost: the restricted form is full attention with a band as its mask."""
  x = jnp.asarray(np.random.default_rng(1).normal(size=(7, 3)))
  far = np.abs(np.subtract.outer(np.arange(7), np.arange(7)))
  banded = run(lambda x: attention.dot_product_attention(x[None], x[None], x[None], mask=far <= 2))
  np.testing.assert_allclose(run(lambda x: restricted(x, 5))(x), banded(x)[0], rtol=1e-12)


def test_a_recurrent_translator_with_attention_costs_m_times_n():
  """Final exam of February 12, 2022, part 1, question 1: O(M N) operations.

  M encoder steps and N decoder steps cost 2 d^2 each; each decoder step then compares its
  state with M encoder states and mixes them, 2 M d. So the count is bilinear in M and N:
  neither M^2 nor N^2 occurs, and the term M N has the coefficient 2 d.
  """
  d = 4

  def translate(source, target):
    params = recurrence(d)
    last, states = rnn.scan(params, source)
    _, queries = rnn.scan(params, target, last)
    context = attention.dot_product_attention(queries[None], states[None], states[None])
    return queries, context

  def count(m, n):
    return cost(translate, jnp.zeros((m, d)), jnp.zeros((n, d)))[0]

  assert differences(count, 7, 5) == (0, 0, 2 * d)
  assert count(7, 5) == 2 * d * d * (7 + 5) + 2 * d * 7 * 5


def test_a_transformer_costs_the_square_of_the_longer_sentence():
  """Final exam of February 26, 2022, part 1, question 3: O(max(M, N)^2) operations.

  Self-attention of the source has M^2 scores, that of the target N^2, and the target's
  attention to the source N M, each with 2 d products; the projections are linear in M and N.
  """
  d = 4
  params = {name: of_width(d) for name in ("query", "key", "value", "out")}

  def translate(source, target):
    source = attention.multi_head(params, source, num_heads=2)
    target = attention.multi_head(params, target, num_heads=2, implementation="autodiff")
    return attention.multi_head(params, target, source, num_heads=2)

  def count(m, n):
    return cost(translate, jnp.zeros((m, d)), jnp.zeros((n, d)))[0]

  assert differences(count, 7, 5) == (2 * 2 * d, 2 * 2 * d, 2 * d)
  for m, n in ((7, 5), (2, 9), (6, 6)):
    pairs = count(m, n) - 6 * d * d * (m + n)  # Six projections of either sentence.
    assert pairs == 2 * d * (m * m + n * n + m * n)
    assert 2 * d * max(m, n) ** 2 <= pairs <= 6 * d * max(m, n) ** 2


@pytest.mark.parametrize("n, d, m", [(5, 2, 3), (1, 6, 1), (4, 1, 3)])
def test_a_matrix_product_costs_n_times_d_times_m(n, d, m):
  """Notes, Algorithmic complexities: N D M; an inner product is D, an outer product N M."""
  params = {"kernel": jnp.zeros((d, m))}
  assert cost(lambda x: linear.apply(params, x), jnp.zeros((n, d))) == (n * d * m, 1)
