"""Attention: a weighted mean of values, the weights from how queries and keys match."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from dlx import platform
from dlx.gradients import attention as gradients
from dlx.gradients import blocked_attention
from dlx.layers import fused_attention, linear, positional, shapes

IMPLEMENTATIONS = ("auto", "autodiff", "blocked", "cudnn")


def causal_mask(t: int) -> Bool[Array, "t t"]:
  """True where position i (row) may attend to position j (column): j <= i."""
  return jnp.tril(jnp.ones((t, t), bool))


def _expect_fitting(query, key, value=None, mask=None):
  """Raises ValueError, as the public functions say, unless all shapes fit."""
  form = "(..., N, T, D)"
  shapes.expect_rank("query", query, 2, form)
  shapes.expect_rank("key", key, 2, form)
  *leading, num_queries, d = query.shape
  num_keys = key.shape[-2]
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
  """How much each query attends to each key: A = softmax(c Q K^T), row by row.

  A_ts = e^(c q_t . k_s) / sum_u e^(c q_t . k_u), the sum over the allowed keys u; a key
  that is not allowed has the weight 0. c keeps the scores' variance: that of a product
  of two rows of D normal numbers is D, and c = 1/sqrt(D) makes it 1.

  Args:
    query: `(..., N, T_query, D)`, N heads.
    key: `(..., N, T_key, D)`.
    mask: True where attention is allowed; broadcasts to `(..., N, T_query, T_key)`.
    is_causal: query t attends to keys 0 to t only, both counted from the start.
    scale: c; 1/sqrt(D) when None.

  Returns:
    A, `(..., N, T_query, T_key)`, in the dtype that query and key promote to; the
    softmax is in at least float32. Each row sums to 1, or to 0 when no key is allowed.

  Raises:
    ValueError: a shape or the mask's dtype does not fit; the message names the argument.

  Source: Vaswani et al., "Attention is all you need" (2017), equation 1.
  """
  mask = None if mask is None else jnp.asarray(mask)
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
  """The mean of the values under each query's weights: O = A V, A = softmax(c Q K^T).

  Args:
    query: `(..., N, T_query, D)`, N heads (jax.nn has (..., T, N, D)).
    key: `(..., N, T_key, D)`.
    value: `(..., N, T_key, D_value)`.
    mask, is_causal, scale: as for `weights`.
    implementation: "autodiff" holds all weights, and jax differentiates it. "blocked"
      holds a block of them at a time, so its memory grows with T instead of T^2, and
      takes the gradient derived in dlx/gradients/blocked_attention.py; it has no
      forward mode. "cudnn" is the kernel of NVIDIA's library. "auto" takes one of these:
      `choose` decides.

  Returns:
    O, `(..., N, T_query, D_value)`; zeros for a query with no key allowed.

  Raises:
    ValueError: a shape or the mask's dtype does not fit, or implementation is unknown;
      the message names the argument.

  Source: Vaswani et al., "Attention is all you need" (2017), equation 1; Dao et al.,
    "FlashAttention" (2022), for the blocks.
  """
  shapes.expect_implementation(implementation, IMPLEMENTATIONS)
  mask = None if mask is None else jnp.asarray(mask)
  _expect_fitting(query, key, value, mask)
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
  return _blocked(is_causal, scaled, key, value, mask)[0].astype(dtype)


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

  As large as a block of the scores of all heads (and examples) stays in a cache of a few
  MB, because each operation on a block waits for all threads; equal, to pad little.
  """
  heads = math.prod(query_shape[:-2])
  largest = next((size for size in (512, 256, 128) if heads * size**2 <= 2**20), 64)

  def equal(t):
    return 16 * -(-t // (16 * max(1, -(-t // largest))))

  return equal(query_shape[-2]), equal(key_shape[-2])


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked(is_causal, query, key, value, mask):
  """(O, log of the rows' sums), over blocks, with the hand-derived gradient."""
  sizes = block_sizes(query.shape, key.shape)
  return blocked_attention.attend(query, key, value, mask, is_causal=is_causal, sizes=sizes)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _blocked_vjp(is_causal, query, key, *others):
  sizes = block_sizes(query.shape, key.shape)
  return blocked_attention.attend_vjp(query, key, *others, is_causal=is_causal, sizes=sizes)


def _blocked_fwd(is_causal, query, key, value, mask):
  # Itself, not its body: what is saved is differentiable, too, for second derivatives.
  out, lse = _blocked(is_causal, query, key, value, mask)
  return (out, lse), (query, key, value, mask, out, lse)


def _second_vjp(is_causal, args, d_out):
  """The derivative of the derivative, by jax from the form that holds all weights."""
  rule = functools.partial(blocked_attention.saved_vjp, is_causal=is_causal)
  return jax.vjp(rule, *args)[1](d_out)


_blocked.defvjp(_blocked_fwd, lambda c, saved, d: (*_blocked_vjp(c, *saved, *d), None))
_blocked_vjp.defvjp(lambda c, *args: (_blocked_vjp(c, *args), args), _second_vjp)


def init(
    rng: jax.Array, d_model: int, *, d_context: int | None = None, bias: bool = True
) -> dict[str, dict[str, Array]]:
  """Draws the four projections of `multi_head`, each as `linear.init` does.

  Args:
    rng: a typed key.
    d_model: features of x and of the output, those of all heads together.
    d_context: features of the context; d_model when None.
    bias: whether the projections have one.

  Returns:
    `query (d_model, d_model)`, `key` and `value (d_context, d_model)` and
    `out (d_model, d_model)`, each a linear layer's dict.
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
  """N attentions side by side, each in its own projection of the features.

  With m the context (x itself in self-attention) and q^n, k^n, v^n columns n D to
  (n + 1) D - 1 of x W_q + b_q, m W_k + b_k, m W_v + b_v, D = d_model / N,

  O^n = softmax(q^n k^n^T / sqrt(D)) v^n,   y = [O^1 ... O^N] W_o + b_o

  Args:
    params: `query`, `key`, `value`, `out`, each a linear layer's dict.
    x: `(..., T, d_model)`, where queries come from.
    context: `(..., T_context, d_context)`, where keys and values come from; x when None.
    num_heads: N; divides d_model.
    mask: True where attention is allowed; broadcasts to `(..., N, T, T_context)`, so
      that a mask `(batch, T, T_context)` needs an axis for N.
    is_causal, implementation: as for `dot_product_attention`.
    rotary: turn queries and keys by their positions, as `positional.rotary` does.

  Returns:
    y, `(..., T, d_model)`.

  Raises:
    ValueError: num_heads does not divide d_model, a head has an odd number of features
      and is to be turned, or as for `dot_product_attention`.

  Source: Vaswani et al., "Attention is all you need" (2017), section 3.2.2.
  """
  query, key, value = project(params, x, context, num_heads=num_heads, rotary=rotary)
  heads = dot_product_attention(
      query, key, value, mask=mask, is_causal=is_causal, implementation=implementation
  )
  return linear.apply(params["out"], gradients.merge_heads(heads))
