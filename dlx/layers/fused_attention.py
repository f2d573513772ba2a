"""Attention by cuDNN's fused kernel through jax.nn, for GPUs in half precision.

The layouts differ: (..., N, T, D) in dlx, (B, T, N, D) in jax.nn.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

_HALF = (jnp.dtype(jnp.bfloat16), jnp.dtype(jnp.float16))


def fits(query_shape: tuple[int, ...], dtype) -> bool:
  """Whether the kernel applies: half precision, and D a multiple of 8 up to 128."""
  return len(query_shape) >= 3 and jnp.dtype(dtype) in _HALF and query_shape[-1] in range(8, 129, 8)


def attend(
    query: Float[Array, "... N T_query D"],
    key: Float[Array, "... N T_key D"],
    value: Float[Array, "... N T_key D"],
    *,
    mask: Bool[Array, "..."] | None,
    is_causal: bool,
    scale: float | None,
    implementation: str = "cudnn",
) -> Float[Array, "... N T_query D"]:
  """`attention.dot_product_attention`; the output of fully masked queries is zero here too.

  Args:
    query, key, value, mask, is_causal, scale: as there; the values have D features.
    implementation: of jax.nn: "cudnn", or "xla", which runs on every device.

  Source: jax.nn.dot_product_attention.
  """
  *leading, num_heads, num_queries, d = query.shape

  def swapped(x):
    return x.reshape(-1, *x.shape[-3:]).swapaxes(1, 2)

  flat = mask
  if mask is not None:  # The kernel broadcasts a mask over heads, but not over queries.
    flat = mask.reshape((1,) * (query.ndim - mask.ndim) + mask.shape)
    pairs = (flat.shape[-3], num_queries, key.shape[-2])
    flat = jnp.broadcast_to(flat, (*leading, *pairs)).reshape(-1, *pairs)
  out = jax.nn.dot_product_attention(
      *map(swapped, (query, key, value)),
      mask=flat, is_causal=is_causal, scale=scale, implementation=implementation,
  ).swapaxes(1, 2)  # fmt: skip
  if mask is not None:
    if is_causal:
      flat = flat & (jnp.arange(key.shape[-2]) <= jnp.arange(num_queries)[:, None])
    out = jnp.where(flat.any(-1)[..., None], out, 0)
  return out.reshape(*leading, num_heads, num_queries, d)
