"""A document as a sequence of segments, each with what its n-grams say of the classes.

  x_k = [sqrt(D / |s_k|) s_k, log(1 + m_k), asinh(r_k)]
  s_k = sum_i c_i w_i,   m_k = sum_i c_i,   r_k = sum_i c_i r_i

over the n-grams i that end in segment k: w_i are vectors of length 1 (dlx.models.document_vectors),
c_i weights (informative_ngrams) and r_i naive Bayes' log ratios (naive_bayes_linear), both from the
counts of all documents but the segment's own. A sum over all segments would forget their order; a
recurrent network reads it.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.data.word_documents import UNKNOWN
from dlx.layers import linear
from dlx.layers.dropout import dropout
from dlx.models import informative_ngrams, naive_bayes_linear, recurrent_classifier


def of_segments(
    evidence: Mapping, ids: Int[Array, "B T"], labels: Int[Array, "B"], *, words: int,
    smoothing: float, max_ratio: float,
) -> Float[Array, "B S D+1+C"]:  # fmt: skip
  """x of the S = ceil(T / words) segments of documents; 0 for one without words.

  Args:
    evidence: "vectors" w (F, D), "tables" of `naive_bayes_linear.features`, "counts" (K, F) of the
      training documents of each class with each n-gram, and "sizes", `log_size_ratios` of them.
    ids: rows of dlx.data.word_documents.
    labels: the classes of training documents, whose own counts are left out; -1 for new documents.
    words: of a segment.
    smoothing, max_ratio: of `log_ratios` and `informative_ngrams.weigh`.
  """
  ids = jnp.pad(ids, ((0, 0), (0, -ids.shape[1] % words)), constant_values=UNKNOWN)
  vectors = jnp.asarray(evidence["vectors"])
  found = jnp.stack(naive_bayes_linear.at_words(evidence["tables"], ids), -1)
  known, found = found < len(vectors), jnp.minimum(found, len(vectors) - 1)
  ratios = naive_bayes_linear.without_own(
      jnp.asarray(evidence["counts"]), evidence["sizes"], found, labels[:, None, None], smoothing
  )
  ratios = jnp.where(known, ratios, 0)
  weights = informative_ngrams.weigh(ratios, max_ratio)  # 0 for r = 0.

  def total(x):  # (B, T, features) of each word -> (B, S, features) of each segment.
    return x.reshape(len(ids), -1, words, x.shape[-1]).sum(2)

  s = total(jnp.einsum("bti,btid->btd", weights, vectors[found]))
  m = total(weights.sum(-1, keepdims=True))
  r = total(jnp.einsum("bti,cbti->btc", weights, ratios))
  norm = jnp.maximum(jnp.linalg.norm(s, axis=-1, keepdims=True), jnp.finfo(s.dtype).tiny)
  s = s * s.shape[-1] ** 0.5 * jax.lax.rsqrt(norm)
  return jnp.concatenate([s, jnp.log1p(m), jnp.arcsinh(r)], -1)


class SegmentClassifier(nn.Module):
  """Logits of the classes of sequences of segments.

    h_k = tanh(x_k V + b),   logits = W pool(recurrent layers of h_1 ... h_S)

  Attributes:
    num_classes: K.
    d_segment: of h_k.
    d_hidden, num_layers, cell, pooling, d_attention: as for RecurrentClassifier.
    segment_dropout_rate: the fraction of segments whose x is 0 in training.
    dropout_rate: of x and of h, and after each layer.
    recurrent_dropout_rate: on the hidden kernels.
  """

  num_classes: int
  d_segment: int = 128
  d_hidden: int = 64
  num_layers: int = 1
  cell: str = "lstm"
  pooling: str = "attention"
  d_attention: int = 32
  segment_dropout_rate: float = 0.0
  dropout_rate: float = 0.0
  recurrent_dropout_rate: float = 0.0

  @nn.compact
  def __call__(
      self, x: Float[Array, "B S D"], lengths: Int[Array, "B"], *, train: bool = False
  ) -> Float[Array, "B K"]:
    """The logits.

    Args:
      x: of `of_segments`.
      lengths: the number of segments with words, at least 1.
      train: drop, with keys named "dropout".
    """
    params = self.param("segments", linear.init, x.shape[-1], self.d_segment)
    if train:
      rngs = jax.random.split(self.make_rng("dropout"))
      x = dropout(rngs[0], x, rate=self.segment_dropout_rate, broadcast_dims=(-1,))
      x = dropout(rngs[1], x, rate=self.dropout_rate)
    h = jnp.tanh(linear.apply(params, x))
    return recurrent_classifier.classify(self, h, lengths, train=train)[0]
