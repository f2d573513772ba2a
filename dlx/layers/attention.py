"""Dot-product attention and multi-head attention."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx import platform
from dlx.gradients import attention as gradients
from dlx.gradients import head_groups
from dlx.layers import attention_arguments as arguments
from dlx.layers import blocked_attention, fused_attention, linear, positional, shapes

IMPLEMENTATIONS = ("auto", "autodiff", "blocked", "cudnn")


def causal_mask(t: int) -> Bool[Array, "t t"]:
  """The lower triangular mask: position i (row) attends to positions j <= i (columns)."""
  return jnp.tril(jnp.ones((t, t), bool))


def weights(
    query: Float[Array, "... T_query D"],
    key: Float[Array, "... T_key D"],
    bias: Float[Array, "..."] | None = None,
    *,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    local_window_size: int | tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
) -> Float[Array, "... T_query T_key"]:
  """The attention weights, A = softmax(S) over the keys, with the scores S = c Q K^T.

  A_ts = e^S_ts / sum_u e^S_tu, with u over the keys that are not masked; a masked key has the
  weight 0. The product of two vectors of D standard normal numbers has variance D, so
  c = 1/sqrt(D) gives scores of variance 1. With a bias B and a soft cap g,

  S = g tanh(c Q K^T / g) + B

  Args:
    query: `(..., N, T_query, D)`, N heads.
    key: `(..., K, T_key, D)`, K = N, or a divisor of N: query head n attends to key head
      floor(n K / N) (grouped queries).
    bias: added to the scores, broadcasts to `(..., N, T_query, T_key)`; -inf masks.
    mask: True where attention is allowed; broadcasts to `(..., N, T_query, T_key)`.
    is_causal: query t attends only to keys 0 to t, both counted from the start.
    local_window_size: (l, r): query t attends only to keys t - l to t + r, both included; an
      int is both. With is_causal, keys t - l to t.
    scale: c; 1/sqrt(D) if None.
    softcap: g > 0, the bound of |c q_t . k_s|; unbounded if None.

  Returns:
    A, `(..., N, T_query, T_key)`, in the dtype that query and key promote to, whatever that of
    the bias; the softmax is computed in at least float32. Each row sums to 1, a fully masked
    row to 0.

  Raises:
    ValueError: a shape or a dtype does not fit, a window is negative or a softcap not
      positive; the message names the argument.

  Source: Vaswani et al., "Attention is all you need" (2017), equation 1; jax.nn for bias and
    window, which come after the soft cap; Gemma team, "Gemma 2" (2024), section 2, for the
    soft cap; Ainslie et al., "GQA" (2023), for grouped queries.
  """
  query, key, mask, bias = shapes.as_arrays(query, key, mask, bias)
  arguments.expect_fitting(query, key, mask=mask, bias=bias)
  arguments.expect_softcap(softcap)
  shape, dtype = (*query.shape[:-1], key.shape[-2]), jnp.result_type(query, key)
  window = arguments.window(local_window_size, *shape[-2:])
  if head_groups.present(query, key):
    query, key, bias, mask = head_groups.split(key, query, key, bias, mask)
  options = {"is_causal": is_causal, "local_window_size": window, "softcap": softcap}
  a = gradients.weights(query, key, bias, mask=mask, scale=scale, **options)
  return a.astype(dtype).reshape(shape)


def dot_product_attention(
    query: Float[Array, "... T_query D"],
    key: Float[Array, "... T_key D"],
    value: Float[Array, "... T_key D_value"],
    bias: Float[Array, "..."] | None = None,
    *,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    local_window_size: int | tuple[int, int] | None = None,
    scale: float | None = None,
    softcap: float | None = None,
    implementation: str = "auto",
) -> Float[Array, "... T_query D_value"]:
  """Scaled dot-product attention, O = A V with A = softmax(S), S = g tanh(c Q K^T / g) + B.

  Without a soft cap g and a bias B, S = c Q K^T.

  Args:
    query: `(..., N, T_query, D)`, N heads (the layout of jax.nn is (..., T, N, D)).
    key: `(..., K, T_key, D)`, K = N or a divisor of N.
    value: `(..., K, T_key, D_value)`.
    bias, mask, is_causal, local_window_size, scale, softcap: as for `weights`.
    implementation: "autodiff" materializes all weights and uses jax's gradient. "blocked"
      computes a block of weights at a time, so that memory grows with T instead of T^2, skips
      blocks outside the window, and uses the gradient of dlx/gradients/blocked_attention.py;
      it has no forward mode. "cudnn" is NVIDIA's fused kernel. "auto" selects one of them by
      `choose`.

  Returns:
    O, `(..., N, T_query, D_value)`, in the dtype that query, key and value promote to; zeros
    for a query with all keys masked.

  Raises:
    ValueError: as for `weights`, or implementation is unknown or lacks an option.

  Source: as for `weights`; Dao et al., "FlashAttention" (2022), for the blocks.
  """
  shapes.expect_implementation(implementation, IMPLEMENTATIONS)
  query, key, value, mask, bias = shapes.as_arrays(query, key, value, mask, bias)
  arguments.expect_fitting(query, key, value, mask, bias)
  arguments.expect_softcap(softcap)
  window = arguments.window(local_window_size, query.shape[-2], key.shape[-2])
  options = {"is_causal": is_causal, "local_window_size": window, "softcap": softcap}
  extra = {"bias": bias, "local_window_size": window, "softcap": softcap}
  unfused = [name for name, value in extra.items() if value is not None]
  if not query.size or not key.size:  # Without keys, or without queries: nothing to cut in blocks.
    implementation = "autodiff"
  if implementation == "auto":
    implementation = choose(query.shape, key.shape, jnp.result_type(query, key, value))
    if implementation == "cudnn" and unfused:
      implementation = "autodiff"
  if implementation == "cudnn":
    if unfused:
      raise ValueError(
          f'implementation: "cudnn" takes no {", ".join(unfused)}; use "autodiff" or "blocked"'
      )
    options = {"mask": mask, "is_causal": is_causal, "scale": scale}
    return fused_attention.attend(query, key, value, **options)
  if implementation == "autodiff":
    return gradients.attend(query, key, value, bias, mask=mask, scale=scale, **options)
  sizes = block_sizes(query.shape, key.shape)
  return blocked_attention.attend(
      query, key, value, bias, mask=mask, scale=scale, options=(sizes, *options.values())
  )


def choose(
    query_shape: tuple[int, ...], key_shape: tuple[int, ...], dtype=jnp.float32
) -> str:
  """The implementation that "auto" selects, given the platform, the shapes and the dtype.

  On CPU, long sequences and scores that no cache holds are processed in blocks. On GPU, cuDNN's
  kernel is used where it applies, which is in half precision. Everything else is the plain form.
  """
  implementation = platform.choices()["attention"]
  if implementation == "blocked":
    size = query_shape[-2] * key_shape[-2]
    suits = size >= 512 * 512 or math.prod(query_shape[:-2]) * size >= 3 * 2**20
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


def init(
    rng: jax.Array,
    d_model: int,
    *,
    d_context: int | None = None,
    d_key: int | None = None,
    bias: bool = True,
) -> dict[str, dict[str, Array]]:
  """Draws the four projections of `multi_head` by `linear.init`.

  Args:
    rng: a typed key.
    d_model: features of x and of the output, N D for N heads.
    d_context: features of the context; d_model if None.
    d_key: features of all keys, and of all values: K D for K heads of them (grouped queries);
      d_model if None.
    bias: whether the projections have one.

  Returns:
    `query (d_model, d_model)`, `key` and `value (d_context, d_key)` and
    `out (d_model, d_model)`, each the params of a linear layer.
  """
  d_context = d_model if d_context is None else d_context
  whole, shared = (d_model, d_model), (d_context, d_model if d_key is None else d_key)
  sizes = {"query": whole, "key": shared, "value": shared, "out": whole}
  return {
      name: linear.init(r, *size, bias=bias)
      for r, (name, size) in zip(jax.random.split(rng, 4), sizes.items())
  }


def project(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    context: Float[Array, "... T_context d_context"] | None = None,
    *,
    num_heads: int,
    rotary: bool = False,
) -> tuple[Array, Array, Array]:
  """The queries, keys and values of `multi_head`, `(..., N or K, T, d_model / N)`.

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
  num_keys = arguments.key_heads(params, num_heads)
  query, key, value = (
      gradients.split_heads(linear.apply(params[name], inputs), heads)
      for name, inputs, heads in (
          ("query", x, num_heads), ("key", memory, num_keys), ("value", memory, num_keys)
      )
  )  # fmt: skip
  if rotary:
    query, key = positional.rotary(query), positional.rotary(key)
  return query, key, value


def multi_head(
    params: dict[str, dict[str, Array]],
    x: Float[Array, "... T d_model"],
    context: Float[Array, "... T_context d_context"] | None = None,
    bias: Float[Array, "..."] | None = None,
    *,
    num_heads: int,
    mask: Bool[Array, "..."] | None = None,
    is_causal: bool = False,
    local_window_size: int | tuple[int, int] | None = None,
    softcap: float | None = None,
    rotary: bool = False,
    implementation: str = "auto",
) -> Float[Array, "... T d_model"]:
  """Multi-head attention: N attention heads, each on its own projection of the features.

  With m the context (x in self-attention) and q^n, k^n, v^n columns n D to (n + 1) D - 1 of
  x W_q + b_q, m W_k + b_k, m W_v + b_v, D = d_model / N,

  O^n = softmax(q^n k^n^T / sqrt(D)) v^n,   y = [O^1 ... O^N] W_o + b_o

  W_k and W_v with K D columns, K a divisor of N, have K heads, of which each serves N / K heads
  of queries (grouped queries; `init` with d_key).

  Args:
    params: `query`, `key`, `value`, `out`, each the params of a linear layer.
    x: `(..., T, d_model)`, the source of queries.
    context: `(..., T_context, d_context)`, the source of keys and values; x if None.
    bias: added to the scores, broadcasts to `(..., N, T, T_context)`.
    num_heads: N; divides d_model.
    mask: True where attention is allowed; broadcasts to `(..., N, T, T_context)`, so a mask
      `(B, T, T_context)` needs an axis for N.
    is_causal, local_window_size, softcap, implementation: as for `dot_product_attention`.
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
      query, key, value, bias, mask=mask, is_causal=is_causal,
      local_window_size=local_window_size, softcap=softcap, implementation=implementation,
  )  # fmt: skip
  return linear.apply(params["out"], gradients.merge_heads(heads))
