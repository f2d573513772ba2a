"""Attention of a decoder to the states of an encoder, by one head: additive or multiplicative.

  a_ts = softmax_s(score(q_t, m_s)),   c_t = sum_s a_ts m_s

  multiplicative   score(q, m) = q^T W m
  additive         score(q, m) = v^T tanh(W q + U m)

Source: Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and
  translate" (2015), for the additive score; Luong, Pham, Manning, "Effective approaches to
  attention-based neural machine translation" (2015), for the other one ("general").
"""

import jax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx.layers import attention, linear

KINDS = ("none", "additive", "multiplicative")


def init(
    rng: jax.Array, kind: str, d_query: int, d_memory: int
) -> dict[str, dict[str, Array] | Array]:
  """Draws `key`, and for the additive score `query` and `vector`, of d_query features.

  Raises:
    ValueError: the kind is neither additive nor multiplicative.
  """
  if kind not in KINDS[1:]:
    raise ValueError(f"kind: expected additive or multiplicative, got {kind!r}")
  key_rng, query_rng, vector_rng = jax.random.split(rng, 3)
  params = {"key": linear.init(key_rng, d_memory, d_query, bias=False)}
  if kind == "additive":
    params["query"] = linear.init(query_rng, d_query, d_query)
    params["vector"] = initializers.normal(d_query**-0.5)(vector_rng, (d_query,))
  return params


def project(params: dict, memory: Float[Array, "... S M"]) -> Float[Array, "... S D"]:
  """The keys W m or U m of all states, which do not depend on the decoder."""
  return linear.apply(params["key"], memory)


def weights(
    params: dict,
    query: Float[Array, "... T D"],
    keys: Float[Array, "... S D"],
    mask: Bool[Array, "... S"] | None = None,
) -> Float[Array, "... T S"]:
  """The attention weights a.

  Args:
    params: of `init`; the additive score has a `vector`.
    query: q, `(..., T, D)`.
    keys: of `project`, `(..., S, D)`.
    mask: True at states that may be attended to, `(..., S)`.

  Returns:
    `(..., T, S)`; rows sum to 1.
  """
  allowed = None if mask is None else mask[..., None, :]
  if "vector" not in params:
    return attention.weights(query, keys, mask=allowed, scale=1.0)
  query = linear.apply(params["query"], query)
  scores = jnp.tanh(query[..., :, None, :] + keys[..., None, :, :]) @ params["vector"]
  scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
  scores = scores if allowed is None else jnp.where(allowed, scores, -jnp.inf)
  return jax.nn.softmax(scores, -1).astype(query.dtype)
