"""Multi-head attention with a cache of keys and values, of earlier tokens or of a context.

A token's keys and values do not depend on later tokens, so a decoder that generates text
computes them once: the next token costs one query instead of a pass over the whole sequence.
"""

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from dlx.gradients import attention as gradients
from dlx.layers import attention, linear, positional, prefixes


def init(
    batch_shape: tuple[int, ...], length: int, *, num_heads: int, d_model: int, dtype=jnp.float32
) -> dict[str, Float[Array, "... N S D"]]:
  """An empty cache for S = `length` tokens: `key` and `value`, zeros (..., N, S, d_model / N)."""
  shape = (*batch_shape, num_heads, length, d_model // num_heads)
  return {"key": jnp.zeros(shape, dtype), "value": jnp.zeros(shape, dtype)}


def attend(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    cache: dict[str, Float[Array, "... N S D"]],
    position: Int[Array, ""],
    *,
    num_heads: int,
    rotary: bool = False,
    prefix: dict[str, Float[Array, "P d_model"]] | None = None,
    allowed: Bool[Array, "... T S"] | None = None,
) -> tuple[Float[Array, "... T d_model"], dict[str, Array]]:
  """`attention.multi_head(..., is_causal=True)` of T tokens that follow `position` cached ones.

  Their keys and values are written to the rows position, ..., position + T - 1 of the cache,
  and query t attends to the rows 0, ..., position + t. The result is that of the uncached form
  at these tokens.

  Args:
    params: of `attention.init`.
    x: the tokens, `(..., T, d_model)`.
    cache: see `init`; its rows from `position` on are ignored.
    position: p, the number of tokens before x; p + T must not exceed S.
    num_heads: N.
    rotary: as for `attention.multi_head`.
    prefix: of `prefixes.init`; the result is then that of `prefixes.multi_head`. The cache has
      only the tokens.
    allowed: the T tokens are alternatives for position p, as in beam search, and their rows are
      T p, ..., T p + T - 1. True at the rows that each attends to: its own, and those of the
      tokens that it continues.

  Returns:
    (y (..., T, d_model), the cache with p + T tokens).

  Source: Shazeer, "Fast transformer decoding: one write-head is all you need" (2019), section
    2.4, for incremental inference.
  """
  query, key, value = attention.project(params, x, num_heads=num_heads)
  row, positions = position, position + jnp.arange(x.shape[-2])
  if allowed is not None:
    row, positions = position * x.shape[-2], jnp.full(x.shape[-2], position)
  if rotary:
    query, key = (positional.rotary(heads, positions) for heads in (query, key))

  def write(rows, new):
    return lax.dynamic_update_slice_in_dim(rows, new.astype(rows.dtype), row, -2)

  cache = {"key": write(cache["key"], key), "value": write(cache["value"], value)}
  if allowed is None:
    allowed = jnp.arange(cache["key"].shape[-2]) <= positions[:, None]
  else:
    allowed = allowed[..., None, :, :]  # For all heads.
  key, value = cache["key"], cache["value"]
  if prefix is not None:
    allowed = prefixes.extend_mask(prefix, allowed, key.shape[-2])
    key, value = prefixes.prepend(prefix, key, value)
  heads = attention.dot_product_attention(
      query, key, value, mask=allowed, implementation="autodiff"
  )
  return linear.apply(params["out"], gradients.merge_heads(heads)), cache


def project_context(
    params: dict[str, dict[str, Array]],
    context: Float[Array, "... S d_context"],
    *,
    num_heads: int,
) -> dict[str, Float[Array, "... N S D"]]:
  """The `key` and `value` of a context, (..., N, S, D) each, for `attend_context`."""
  return {
      name: gradients.split_heads(linear.apply(params[name], context), num_heads)
      for name in ("key", "value")
  }


def attend_context(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    context: dict[str, Float[Array, "... N S D"]],
    *,
    num_heads: int,
    mask: Bool[Array, "..."] | None = None,
) -> Float[Array, "... T d_model"]:
  """`attention.multi_head(params, x, context, ...)` with a context that has been projected.

  Args:
    params: of `attention.init`.
    x: `(..., T, d_model)`; there may be more dimensions before T than the context has, for
      several sequences that attend to the same one, as in beam search.
    context: of `project_context`.
    num_heads: N.
    mask: True at keys that may be attended to, `(..., 1, 1, S)`.

  Returns:
    `(..., T, d_model)`, in the shape of x.
  """
  batch = context["key"].shape[:-3]
  rows = x.reshape(*batch, -1, x.shape[-1])  # Queries do not depend on each other.
  query = gradients.split_heads(linear.apply(params["query"], rows), num_heads)
  heads = attention.dot_product_attention(
      query, context["key"], context["value"], mask=mask, implementation="autodiff"
  )
  y = linear.apply(params["out"], gradients.merge_heads(heads))
  return y.reshape(*x.shape[:-1], y.shape[-1])
