"""Dot-product attention and multi-head attention."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx import platform
from dlx.gradients import attention as gradients
from dlx.gradients import blocked_attention, varying
from dlx.layers import fused_attention, linear, positional, shapes

IMPLEMENTATIONS = ("auto", "autodiff", "blocked", "cudnn")


def causal_mask(t: int) -> Bool[Array, "t t"]:
  """The lower triangular mask: position i (row) attends to positions j <= i (columns)."""
  return jnp.tril(jnp.ones((t, t), bool))


def _expect_fitting(query, key, value=None, mask=None):
  """Raises ValueError unless all shapes fit."""
  form = "(..., N, T, D)"
  shapes.expect_rank("query", query, 2, form)
  shapes.expect_rank("key", key, 2, form)
  *leading, num_queries, d = query.shape
  num_keys = key.shape[-2]
  if not d:
    raise ValueError(f"query: expected at least one feature, got shape {query.shape}")
  shapes.expect_shape("key", key, (*leading, num_keys, d))
  if value is not None:
    shapes.expect_rank("value", value, 2, form)
    shapes.expect_shape("value", value, (*leading, num_keys, value.shape[-1]))
  if mask is not None:
    if mask.dtype != bool:
      raise ValueError(f"mask: expected dtype bool, got {mask.dtype}")
    shapes.expect_broadcast("mask", mask, (*leading, num_queries, num_keys))


def weights(
    query: Float[Array, "... T_query D"],
    key: Float[Array, "... T_key D"],
    *,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Float[Array, "... T_query T_key"]:
  """The attention weights, A = softmax(c Q K^T) over the keys.

  A_ts = e^(c q_t . k_s) / sum_u e^(c q_t . k_u), with u over the keys that are not masked;
  a masked key has the weight 0. The product of two vectors of D standard normal numbers has
  variance D, so c = 1/sqrt(D) gives scores of variance 1.

  Args:
    query: `(..., N, T_query, D)`, N heads.
    key: `(..., N, T_key, D)`.
    mask: True where attention is allowed; broadcasts to `(..., N, T_query, T_key)`.
    is_causal: query t attends only to keys 0 to t, both counted from the start.
    scale: c; 1/sqrt(D) if None.

  Returns:
    A, `(..., N, T_query, T_key)`, in the dtype that query and key promote to; the softmax
    is computed in at least float32. Each row sums to 1, a fully masked row to 0.

  Raises:
    ValueError: a shape or the mask's dtype does not fit; the message names the argument.

  Source: Vaswani et al., "Attention is all you need" (2017), equation 1.
  """
  query, key, mask = shapes.as_arrays(query, key, mask)
  _expect_fitting(query, key, mask=mask)
  a = gradients.weights(query, key, mask=mask, is_causal=is_causal, scale=scale)
  return a.astype(jnp.result_type(query, key))


def dot_product_attention(
    query: Float[Array, "... T_query D"],
    key: Float[Array, "... T_key D"],
    value: Float[Array, "... T_key D_value"],
    *,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    implementation: str = "auto",
) -> Float[Array, "... T_query D_value"]:
  """Scaled dot-product attention, O = A V with A = softmax(c Q K^T).

  Args:
    query: `(..., N, T_query, D)`, N heads (the layout of jax.nn is (..., T, N, D)).
    key: `(..., N, T_key, D)`.
    value: `(..., N, T_key, D_value)`.
    mask, is_causal, scale: as for `weights`.
    implementation: "autodiff" materializes all weights and uses jax's gradient. "blocked"
      computes a block of weights at a time, so that memory grows with T instead of T^2,
      and uses the gradient of dlx/gradients/blocked_attention.py; it has no forward mode.
      "cudnn" is NVIDIA's fused kernel. "auto" selects one of them by `choose`.

  Returns:
    O, `(..., N, T_query, D_value)`; zeros for a query with all keys masked.

  Raises:
    ValueError: a shape or the mask's dtype does not fit, or implementation is unknown;
      the message names the argument.

  Source: Vaswani et al., "Attention is all you need" (2017), equation 1; Dao et al.,
    "FlashAttention" (2022), for the blocks.
  """
  shapes.expect_implementation(implementation, IMPLEMENTATIONS)
  query, key, value, mask = shapes.as_arrays(query, key, value, mask)
  _expect_fitting(query, key, value, mask)
  if not query.size or not key.size:  # Without keys, or without queries: nothing to cut in blocks.
    implementation = "autodiff"
  if implementation == "auto":
    implementation = choose(query.shape, key.shape, jnp.result_type(query, key, value))
  if implementation == "cudnn":
    options = {"mask": mask, "is_causal": is_causal, "scale": scale}
    return fused_attention.attend(query, key, value, **options)
  if implementation == "autodiff":
    a = weights(query, key, mask=mask, is_causal=is_causal, scale=scale)
    return a @ value
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  dtype = jnp.result_type(query, key, value)
  scaled = scale * query.astype(jnp.promote_types(dtype, jnp.float32))
  out, _ = varying.call(_blocked, scaled, key, value, mask, static=(is_causal,))
  return out.astype(dtype)


def choose(
    query_shape: tuple[int, ...], key_shape: tuple[int, ...], dtype=jnp.float32
) -> str:
  """The implementation that "auto" selects, given the platform, the shapes and the dtype.

  On CPU, long sequences are processed in blocks. On GPU, cuDNN's kernel is used where it
  applies, which is in half precision. Everything else is the plain form.
  """
  implementation = platform.choices()["attention"]
  if implementation == "blocked":
    suits = query_shape[-2] * key_shape[-2] >= 512 * 512
  elif implementation == "cudnn":
    suits = fused_attention.fits(query_shape, dtype)
  else:
    suits = True
  return implementation if suits else "autodiff"


def block_sizes(query_shape: tuple[int, ...], key_shape: tuple[int, ...]) -> tuple[int, int]:
  """The numbers of queries and of keys in a block, multiples of 16.

  Blocks are as large as the scores of all heads (and examples) fit into a cache of a few
  MB, because threads synchronize after each operation on a block; blocks of equal size
  need little padding.
  """
  heads = math.prod(query_shape[:-2])
  largest = next((size for size in (512, 256, 128) if heads * size**2 <= 2**20), 64)

  def equal(t):
    return 16 * -(-t // (16 * max(1, -(-t // largest))))

  return equal(query_shape[-2]), equal(key_shape[-2])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(is_causal, query, key, value, mask):
  """(O, log of the row sums), in blocks, with the hand-derived gradient."""
  sizes = block_sizes(query.shape, key.shape)
  return blocked_attention.attend(query, key, value, mask, is_causal=is_causal, sizes=sizes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked_vjp(is_causal, query, key, *others):
  sizes = block_sizes(query.shape, key.shape)
  return blocked_attention.attend_vjp(query, key, *others, is_causal=is_causal, sizes=sizes)


def _blocked_fwd(is_causal, query, key, value, mask):
  # The function, not its body: second derivatives differentiate the residuals, too.
  out, lse = _blocked(is_causal, query, key, value, mask)
  return (out, lse), (query, key, value, mask, out, lse)


def _second_vjp(is_causal, args, d_out):
  """The second derivative, by jax from the form that materializes all weights."""
  rule = functools.partial(blocked_attention.saved_vjp, is_causal=is_causal)
  return jax.vjp(rule, *args)[1](d_out)


_blocked.defvjp(_blocked_fwd, lambda c, saved, d: (*_blocked_vjp(c, *saved, *d), None))
_blocked_vjp.defvjp(lambda c, *args: (_blocked_vjp(c, *args), args), _second_vjp)


def init(
    rng: jax.Array, d_model: int, *, d_context: int | None = None, bias: bool = True
) -> dict[str, dict[str, Array]]:
  """Draws the four projections of `multi_head` by `linear.init`.

  Args:
    rng: a typed key.
    d_model: features of x and of the output, N D for N heads.
    d_context: features of the context; d_model if None.
    bias: whether the projections have one.

  Returns:
    `query (d_model, d_model)`, `key` and `value (d_context, d_model)` and
    `out (d_model, d_model)`, each the params of a linear layer.
  """
  d_context = d_model if d_context is None else d_context
  sizes = {"query": d_model, "key": d_context, "value": d_context, "out": d_model}
  return {
      name: linear.init(r, d_in, d_model, bias=bias)
      for r, (name, d_in) in zip(jax.random.split(rng, 4), sizes.items())
  }


def project(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    context: Float[Array, "... T_context d_context"] | None = None,
    *,
    num_heads: int,
    rotary: bool = False,
) -> tuple[Array, Array, Array]:
  """The queries, keys and values of `multi_head`, each `(..., N, T, d_model / N)`.

  Args:
    params, x, context, num_heads, rotary: as for `multi_head`.

  Raises:
    ValueError: as `multi_head`.
  """
  shapes.expect_params(params, ("query", "key", "value", "out"))
  x, context = shapes.as_arrays(x, context)
  d_model = params["query"]["kernel"].shape[1]
  if num_heads < 1 or d_model % num_heads:
    raise ValueError(f"num_heads: expected a divisor of d_model={d_model}, got {num_heads}")
  memory = x if context is None else context
  shapes.expect_rank("x", x, 2, "(..., T, d_model)")
  shapes.expect_last("x", x, params["query"]["kernel"].shape[0])
  name = "x" if context is None else "context"
  shapes.expect_last(name, memory, params["key"]["kernel"].shape[0])
  shapes.expect_shape(name, memory, (*x.shape[:-2], *memory.shape[-2:]))
  query, key, value = (
      gradients.split_heads(linear.apply(params[name], inputs), num_heads)
      for name, inputs in (("query", x), ("key", memory), ("value", memory))
  )
  if rotary:
    query, key = positional.rotary(query), positional.rotary(key)
  return query, key, value


def multi_head(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    context: Float[Array, "... T_context d_context"] | None = None,
    *,
    num_heads: int,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    rotary: bool = False,
    implementation: str = "auto",
) -> Float[Array, "... T d_model"]:
  """Multi-head attention: N attention heads, each on its own projection of the features.

  With m the context (x in self-attention) and q^n, k^n, v^n columns n D to (n + 1) D - 1 of
  x W_q + b_q, m W_k + b_k, m W_v + b_v, D = d_model / N,

  O^n = softmax(q^n k^n^T / sqrt(D)) v^n,   y = [O^1 ... O^N] W_o + b_o

  Args:
    params: `query`, `key`, `value`, `out`, each the params of a linear layer.
    x: `(..., T, d_model)`, the source of queries.
    context: `(..., T_context, d_context)`, the source of keys and values; x if None.
    num_heads: N; divides d_model.
    mask: True where attention is allowed; broadcasts to `(..., N, T, T_context)`, so a mask
      `(B, T, T_context)` needs an axis for N.
    is_causal, implementation: as for `dot_product_attention`.
    rotary: apply `positional.rotary` to queries and keys.

  Returns:
    y, `(..., T, d_model)`.

  Raises:
    ValueError: num_heads does not divide d_model, D is odd with rotary, or as for
      `dot_product_attention`.

  Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.2.
  """
  query, key, value = project(params, x, context, num_heads=num_heads, rotary=rotary)
  heads = dot_product_attention(
      query, key, value, mask=mask, is_causal=is_causal, implementation=implementation
  )
  return linear.apply(params["out"], gradients.merge_heads(heads))
