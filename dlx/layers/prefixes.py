"""Prefix tuning: learned keys and values before those of the tokens in self-attention.

A prefix has P keys and values per head. They have no position, are valid for every query (before
every token, where attention is causal), and leave the positions of the tokens as they are:

  O^n = softmax(q^n [P_k^n; k^n]^T / sqrt(D)) [P_v^n; v^n]

Training only the prefixes fine-tunes a pretrained network with 2 P d_model parameters a layer. The
keys and values are the parameters themselves; Li and Liang make them in training by a feed-forward
network of a smaller matrix, which this leaves out.

Source: Li and Liang, "Prefix-tuning: optimizing continuous prompts for generation" (2021).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx.gradients import attention as gradients
from dlx.layers import attention, linear


def init(rng: jax.Array, length: int, d_model: int) -> dict[str, Float[Array, "P d_model"]]:
  """Draws a prefix, `key` and `value (P, d_model)`: keys from a standard normal, values 0.

  So the keys have the scale of those of normalized tokens, and differ, while the values add
  nothing before training; attention is only scaled by the weight that the tokens keep.
  """
  key = jax.random.normal(rng, (length, d_model))
  return {"key": key, "value": jnp.zeros_like(key)}


def prepend(
    prefix: dict[str, Float[Array, "P d_model"]],
    key: Float[Array, "... K T D"],
    value: Float[Array, "... K T D"],
) -> tuple[Float[Array, "... K P+T D"], Float[Array, "... K P+T D"]]:
  """The keys and values `(..., K, P + T, D)` of a prefix and then of T tokens.

  Args:
    prefix: `key` and `value (P, K D)`; head n has the columns n D to (n + 1) D - 1.
    key, value: of the tokens, with K heads.
  """

  def join(rows, heads):
    rows = gradients.split_heads(rows.astype(heads.dtype), heads.shape[-3])
    rows = jnp.broadcast_to(rows, (*heads.shape[:-2], *rows.shape[-2:]))
    return jnp.concatenate([rows, heads], -2)

  return join(prefix["key"], key), join(prefix["value"], value)


def extend_mask(
    prefix: dict[str, Float[Array, "P d_model"]], mask: Bool[Array, "..."], num_keys: int
) -> Bool[Array, "... P+T"]:
  """A mask for the keys of a prefix, which every query attends to, and then of the tokens.

  Args:
    prefix: of `init`.
    mask: True where attention to a token is allowed, `(..., T)` or `(..., 1)`.
    num_keys: T.
  """
  mask = jnp.broadcast_to(mask, (*mask.shape[:-1], num_keys))
  return jnp.concatenate([jnp.ones((*mask.shape[:-1], len(prefix["key"])), bool), mask], -1)


def weights(
    prefix: dict[str, Float[Array, "P d_model"]],
    query: Float[Array, "... N T D"],
    key: Float[Array, "... K T D"],
    *,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
) -> Float[Array, "... N T T"]:
  """`attention.weights` of the tokens' keys; a row's sum is 1 less the weights of the prefix."""
  options = _options(prefix, query, mask, is_causal)
  key, _ = prepend(prefix, key, key)
  return attention.weights(query, key, **options)[..., len(prefix["key"]) :]


def multi_head(
    params: dict[str, dict[str, Array]],
    prefix: dict[str, Float[Array, "P d_model"]],
    x: Float[Array, "... T d_model"],
    *,
    num_heads: int,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    rotary: bool = False,
    implementation: str = "auto",
) -> Float[Array, "... T d_model"]:
  """`attention.multi_head` of x with itself, after a prefix.

  Args:
    params, num_heads, rotary, implementation: as for `attention.multi_head`.
    prefix: of `init`, `key` and `value (P, d_model)`.
    x: the tokens, `(..., T, d_model)`.
    mask: True where attention to a token is allowed; broadcasts to `(..., N, T, T)`.
    is_causal: token t attends to the prefix and to tokens 0 to t.

  Returns:
    y, `(..., T, d_model)`. A token with all tokens masked attends to the prefix alone.

  Raises:
    ValueError: as `attention.multi_head`.
  """
  query, key, value = attention.project(params, x, num_heads=num_heads, rotary=rotary)
  options = _options(prefix, query, mask, is_causal)
  heads = attention.dot_product_attention(
      query, *prepend(prefix, key, value), **options, implementation=implementation
  )
  return linear.apply(params["out"], gradients.merge_heads(heads))


def _options(prefix, query, mask, is_causal):
  """The mask, and the window of keys that is causal: token t is key P + t."""
  num_tokens = query.shape[-2]
  if mask is not None:
    mask = extend_mask(prefix, mask, num_tokens)
  window = (num_tokens, len(prefix["key"])) if is_causal else None
  return {"mask": mask, "local_window_size": window}
