"""Losses of word vectors, as functions of the rows of the tables that a step reads.

A step reads some thousands of rows of tables with millions of numbers. The losses take these
rows and not the tables, so that their gradients are small, too; dlx.training.sparse updates the
tables. The pairs of neighbours in a sequence are a banded matrix, and noise words are shared by
all words of a sequence: all scores are matrix products, as in Ji, Satish, Li, Dubey,
"Parallelizing word2vec in shared and distributed memory" (2016).

B sequences of L words, D the vectors' size, K noise words of a sequence, P the length of a path.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float


def skip_gram(
    centres: Float[Array, "B L D"],
    contexts: Float[Array, "B L D"],
    noise: Float[Array, "B K D"],
    pairs: Bool[Array, "B L L"],
    *,
    negatives: float,
) -> Float[Array, "B L"]:
  """Negative sampling: each word tells its neighbours from noise.

    loss_i = sum_j pairs_ij ( -log sigmoid(v_i . u_j) - n/K sum_k log sigmoid(-v_i . u_k) )

  Args:
    centres: v_i, the word vectors.
    contexts: u_j, the output vectors of the same words.
    noise: u_k, the output vectors of noise words, shared by all words of a sequence.
    pairs: whether word j is a neighbour of word i.
    negatives: n, the weight of noise: the noise words of a pair in word2vec.

  Returns:
    The loss of each word, summed over its pairs.

  Source: Mikolov, Sutskever, Chen, Corrado, Dean, "Distributed representations of words and
    phrases and their compositionality" (2013), equation 4.
  """
  mask = pairs.astype(centres.dtype)
  positive = _sum_last(mask * _softplus(-centres @ contexts.mT))
  return positive + _sum_last(mask) * _against_noise(centres, noise, negatives)


def cbow(
    inputs: Float[Array, "B L D"],
    targets: Float[Array, "B L D"],
    noise: Float[Array, "B K D"],
    pairs: Bool[Array, "B L L"],
    *,
    negatives: float,
) -> Float[Array, "B L"]:
  """Continuous bag of words: the mean of a word's neighbours tells the word from noise.

    h_i = sum_j pairs_ij v_j / sum_j pairs_ij
    loss_i = -log sigmoid(h_i . u_i) - n/K sum_k log sigmoid(-h_i . u_k)

  A word without neighbours has the loss 0. Arguments as for `skip_gram`, with v_j the inputs and
  u_i the targets.

  Source: Mikolov, Chen, Corrado, Dean, "Efficient estimation of word representations in vector
    space" (2013). The gradient of v_j has the factor 1 / sum_j pairs_ij, which word2vec leaves
    out; Irsoy, Benton, Stratos, "Corrected CBOW performs as well as skip-gram" (2021).
  """
  h = mean_of_neighbours(inputs, pairs)
  loss = _softplus(-_sum_last(h * targets)) + _against_noise(h, noise, negatives)
  return jnp.where(pairs.any(-1), loss, 0)


def skip_gram_paths(
    centres: Float[Array, "B L D"],
    nodes: Float[Array, "B L P D"],
    signs: Float[Array, "B L P"],
    pairs: Bool[Array, "B L L"],
) -> Float[Array, "B L"]:
  """Hierarchical softmax: each neighbour predicts the word by its path in a binary tree.

    loss_i = -sum_j pairs_ij sum_p log sigmoid(s_ip v_j . u_ip)

  Args:
    centres: v_j, the word vectors.
    nodes: u_ip, the vectors of the nodes above word i.
    signs: s_ip, 1 where the path turns left, -1 where it turns right, 0 after its end.
    pairs: whether word j is a neighbour of word i.

  Source: Morin and Bengio, "Hierarchical probabilistic neural network language model" (2005);
    Mikolov et al. (2013), section 2.1.
  """
  scores = jnp.einsum("bjd,bipd->bipj", centres, nodes)
  losses = _softplus(-signs[..., None] * scores) * jnp.abs(signs)[..., None]
  return _sum_last(pairs * losses.sum(-2))


def cbow_paths(
    inputs: Float[Array, "B L D"],
    nodes: Float[Array, "B L P D"],
    signs: Float[Array, "B L P"],
    pairs: Bool[Array, "B L L"],
) -> Float[Array, "B L"]:
  """Hierarchical softmax of the mean of a word's neighbours h_i, see `cbow`.

    loss_i = -sum_p log sigmoid(s_ip h_i . u_ip)

  Arguments as for `skip_gram_paths`.
  """
  h = mean_of_neighbours(inputs, pairs)
  scores = jnp.einsum("bid,bipd->bip", h, nodes)
  losses = _sum_last(_softplus(-signs * scores) * jnp.abs(signs))
  return jnp.where(pairs.any(-1), losses, 0)


def mean_of_neighbours(
    inputs: Float[Array, "B L D"], pairs: Bool[Array, "B L L"]
) -> Float[Array, "B L D"]:
  """The mean vector of each word's neighbours; 0 for a word without any."""
  counts = pairs.sum(-1, keepdims=True)
  return (pairs.astype(inputs.dtype) @ inputs) / jnp.maximum(counts, 1)


def glove(
    words: Float[Array, "B D"],
    contexts: Float[Array, "B D"],
    word_biases: Float[Array, "B"],
    context_biases: Float[Array, "B"],
    counts: Float[Array, "B"],
    *,
    largest: float,
    power: float = 0.75,
) -> Float[Array, "B"]:
  """GloVe: weighted least squares of the logarithms of counts.

    loss = 1/2 f(x) (w . u + b + c - log x)^2,   f(x) = min(1, (x / x_max)^a)

  Args:
    words, contexts: w and u, the vectors of the two words of an entry.
    word_biases, context_biases: b and c.
    counts: x > 0, how often they occur together.
    largest: x_max.
    power: a.

  Source: Pennington, Socher, Manning, "GloVe: global vectors for word representation" (2014),
    equations 8 and 9; with the factor 1/2 of their program.
  """
  weight = jnp.minimum(1, (counts / largest) ** power)
  error = (words * contexts).sum(-1) + word_biases + context_biases - jnp.log(counts)
  return 0.5 * weight * error**2


def _against_noise(x, noise, negatives):
  """-n/K sum_k log sigmoid(-x_i . u_k), (B, L)."""
  return negatives / noise.shape[-2] * _sum_last(_softplus(x @ noise.mT))


@jax.custom_jvp
def _softplus(x):
  """log(1 + e^x)."""
  return jnp.maximum(x, 0) + jnp.log1p(jnp.exp(-jnp.abs(x)))


_softplus.defjvps(lambda tangent, _, x: tangent * jax.nn.sigmoid(x))


def _sum_last(x):
  """The sum over the last dimension, as a product: XLA's own sum is not vectorized on CPU."""
  ones = jnp.ones(x.shape[-1], x.dtype)
  return jnp.matmul(x, ones, precision=jax.lax.Precision.HIGHEST)
