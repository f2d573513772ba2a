"""Vectors of documents and n-grams: the cosine of two says how likely the document has the n-gram.

  J(d) = sum_i c_i log sigma(s d.w_i) / sum_i c_i + k mean_j log sigma(-s d.u_j)

for a document with n-grams w_i, of weight c_i each, and noise u_j, n-grams of all documents; all
vectors have length 1. A document's vector is not a parameter: it is the d that maximizes J, found
by some steps of ascent from the mean of its n-grams, in training and for new documents alike (a
local maximum: on the sphere J can have others). The gradient of max_d J for the n-grams is that of
J at this d (the envelope theorem), so that none flows through the ascent.

Source: Thongtan and Phienthrakul, "Sentiment classification using document embeddings trained with
  cosine similarity" (2019), where each training document has a vector of its own.
"""

from collections.abc import Mapping

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dlx.data import word_windows


def unit(x: Float[Array, "... D"]) -> Float[Array, "... D"]:
  """x / |x|; 0 for x = 0."""
  return x * lax.rsqrt(jnp.maximum((x * x).sum(-1, keepdims=True), jnp.finfo(x.dtype).tiny))


def objective(
    d: Float[Array, "B D"],
    ngrams: Float[Array, "B L D"],
    weights: Float[Array, "B L"],
    noise: Float[Array, "J D"],
    *,
    scale: float,
    negatives: float,
) -> Float[Array, "B"]:
  """J of each document.

  Args:
    d: vectors of documents.
    ngrams: w, vectors of their n-grams.
    weights: c, not negative; 0 for padding.
    noise: u, shared by the documents.
    scale: s.
    negatives: k, the weight of the noise against the n-grams.
  """
  present = jax.nn.log_sigmoid(scale * jnp.einsum("bld,bd->bl", ngrams, d))
  absent = jax.nn.log_sigmoid(-scale * d @ noise.T)
  return (_shares(weights) * present).sum(-1) + negatives * absent.mean(-1)


def infer(
    ngrams: Float[Array, "B L D"],
    weights: Float[Array, "B L"],
    noise: Float[Array, "J D"],
    *,
    scale: float,
    negatives: float,
    steps: int,
    rate: float,
) -> Float[Array, "B D"]:
  """The vectors of documents: d <- unit(d + r dJ/dd).

  Args:
    ngrams, weights, noise, scale, negatives: as for `objective`.
    steps: of ascent.
    rate: r.
  """
  shares = _shares(weights)

  def ascend(d, _):
    present = shares * jax.nn.sigmoid(-scale * jnp.einsum("bld,bd->bl", ngrams, d))
    absent = jax.nn.sigmoid(scale * d @ noise.T)
    gradient = jnp.einsum("bl,bld->bd", present, ngrams) - negatives / len(noise) * absent @ noise
    return unit(d + rate * scale * gradient), None

  start = unit(jnp.einsum("bl,bld->bd", shares, ngrams))
  return lax.scan(ascend, start, length=steps)[0]


def draw_noise(rng: jax.Array, noise: Mapping[str, Array], count: int) -> Int[Array, "J"]:
  """The ids of n-grams drawn from `word_windows.alias_table`, as a dict."""
  bits = jax.random.bits(rng, (2 * count,), jnp.uint32)
  return word_windows.choose(word_windows.Alias(**noise), bits)


def of_ngrams(
    variables: Mapping, ngrams: Int[Array, "B L"], weights: Float[Array, "B L"], *,
    noise_ngrams: int, **ascent,
) -> Float[Array, "B D"]:
  """d of documents with all of their n-grams, and with the same noise for each.

  Args:
    variables: "vectors" (F, D) of the n-grams, and "ngrams" with their "noise".
    ngrams: the ids of each document's n-grams; any where its weight is 0.
    weights: c.
    noise_ngrams: J.
    **ascent: scale, negatives, steps and rate of `infer`.
  """
  table = jnp.asarray(variables["vectors"])
  noise = draw_noise(jax.random.key(0), variables["ngrams"]["noise"], noise_ngrams)
  rows = unit(table[jnp.minimum(ngrams, len(table) - 1)])
  return infer(rows, weights, unit(table[noise]), **ascent)


def _shares(weights):
  """weights / their sum; 0 for a document without n-grams."""
  return weights / jnp.maximum(weights.sum(-1, keepdims=True), jnp.finfo(weights.dtype).tiny)
