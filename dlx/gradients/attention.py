"""The gradient of attention, derived by hand.

Notation: Q, K, V are the queries, keys and values of one head, one row per position;
c is the scale, M the mask, A the weights and O the output,

  S = c Q K^T,   A = softmax of each row of S over the keys that M allows,   O = A V

and d_v is the cotangent of v (the derivative of the loss with respect to v), in the
shape of v. Backward from the last equation:

- O_tj = sum_s A_ts V_sj. By the rule of a product, d_V = A^T d_O, d_A = d_O V^T.
- A_ts = e^S_ts / sum_u e^S_tu, row by row. From dA_ts/dS_tu = A_ts ([s = u] - A_tu),

    d_S_tu = sum_s d_A_ts dA_ts/dS_tu = A_tu (d_A_tu - sum_s A_ts d_A_ts)

  so d_S = A * (d_A - rowsum(A * d_A)), with * elementwise. Where M masks, A = 0 and so
  d_S = 0: the mask needs no extra term. A fully masked row has A = 0, hence O = 0 and
  zero gradients.
- S_ts = c sum_i Q_ti K_si. By the rule of a product, d_Q = c d_S K, d_K = c d_S^T Q.

The scores and the softmax are computed in at least float32, other products in the dtype of
their inputs.

Source: Vaswani et al., "Attention is all you need" (2017), for the function;
  Dao et al., "FlashAttention" (2022), appendix B.2, for its derivative.
"""

import jax.numpy as jnp

from dlx.gradients import checks, linear, softmax


def dot(x, y):
  """x y, accumulated and returned in at least float32."""
  dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
  return jnp.matmul(x, y, preferred_element_type=dtype)


def transpose(x):
  """Swaps the last two dimensions."""
  return jnp.swapaxes(x, -1, -2)


def allowed(mask, is_causal, num_queries, num_keys):
  """`mask`, combined with the causal mask if `is_causal`; None if nothing is masked."""
  if not is_causal:
    return mask
  causal = jnp.arange(num_keys) <= jnp.arange(num_queries)[:, None]
  return causal if mask is None else causal & mask


def weights(query, key, *, mask=None, is_causal=False, scale=None):
  """A, `(..., N, T_query, T_key)`, in at least float32; see `dlx.layers.attention.weights`."""
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  scores = scale * dot(query, transpose(key))
  return softmax.probabilities(scores, where=allowed(mask, is_causal, *scores.shape[-2:]))


def _scores_vjp(a, d_a):
  """d_S from A and d_A."""
  return a * (d_a - (a * d_a).sum(-1, keepdims=True))


def _product_vjp(query, key, d_s, scale):
  """(d_query, d_key) from d_S."""
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  d_s = (scale * d_s).astype(jnp.result_type(query, key))
  return (d_s @ key).astype(query.dtype), (transpose(d_s) @ query).astype(key.dtype)


def weights_vjp(query, key, *, d_out, mask=None, is_causal=False, scale=None):
  """The vector-Jacobian product of `dlx.layers.attention.weights`, A = softmax(c Q K^T).

  The last two steps of the module's derivation, with d_A given:

    d_S = A * (d_A - rowsum(A * d_A)),   d_Q = c d_S K,   d_K = c d_S^T Q

  Args:
    query: `(..., N, T_query, D)`.
    key: `(..., N, T_key, D)`.
    d_out: d_A, `(..., N, T_query, T_key)`, in the dtype of the weights.
    mask, is_causal, scale: as in the layer.

  Returns:
    (d_query, d_key), in the shapes and dtypes of query and key.

  Raises:
    ValueError: d_out does not have the shape or the dtype of the weights.

  Source: as for the module.
  """
  shape = (*query.shape[:-1], key.shape[-2])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(query, key))
  a = weights(query, key, mask=mask, is_causal=is_causal, scale=scale)
  return _product_vjp(query, key, _scores_vjp(a, d_out.astype(a.dtype)), scale)


def dot_product_attention_vjp(
    query, key, value, *, d_out, mask=None, is_causal=False, scale=None
):
  """The vector-Jacobian product of `dlx.layers.attention.dot_product_attention`, O = A V.

  All three steps of the module's derivation:

    d_V = A^T d_O,   d_A = d_O V^T,   d_S = A * (d_A - rowsum(A * d_A)),
    d_Q = c d_S K,   d_K = c d_S^T Q

  Args:
    query: `(..., N, T_query, D)`.
    key: `(..., N, T_key, D)`.
    value: `(..., N, T_key, D_value)`.
    d_out: d_O, `(..., N, T_query, D_value)`, in the dtype of the output.
    mask, is_causal, scale: as in the layer.

  Returns:
    (d_query, d_key, d_value), in the shapes and dtypes of query, key and value.

  Raises:
    ValueError: d_out does not have the shape or the dtype of the output.

  Source: as for the module.
  """
  shape = (*query.shape[:-1], value.shape[-1])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(query, key, value))
  a = weights(query, key, mask=mask, is_causal=is_causal, scale=scale)
  d_value = (transpose(a.astype(d_out.dtype)) @ d_out).astype(value.dtype)
  d_a = dot(d_out, transpose(value))
  return *_product_vjp(query, key, _scores_vjp(a, d_a), scale), d_value


def split_heads(x, num_heads):
  """(..., T, N D) -> (..., N, T, D): head n has columns n D to (n + 1) D - 1."""
  # Not -1, which an empty batch leaves open.
  return jnp.swapaxes(x.reshape(*x.shape[:-1], num_heads, x.shape[-1] // num_heads), -2, -3)


def merge_heads(x):
  """(..., N, T, D) -> (..., T, N D), the inverse of `split_heads`."""
  x = jnp.swapaxes(x, -2, -3)
  return x.reshape(*x.shape[:-2], x.shape[-2] * x.shape[-1])


def _linear(params, x):
  y = x @ params["kernel"]
  return y + params["bias"] if "bias" in params else y


def multi_head_vjp(
    params, x, context=None, *, d_out, num_heads, mask=None, is_causal=False
):
  """The vector-Jacobian product of `dlx.layers.attention.multi_head`.

  With m the context (x itself in self-attention), the layer is

    q = x W_q + b_q,   k = m W_k + b_k,   v = m W_v + b_v    (T, N D), split into N heads
    O^n = softmax(q^n k^n^T / sqrt(D)) v^n                   for each head n
    y = [O^1 ... O^N] W_o + b_o

  Backward, the linear rule of the output projection gives d_W_o, d_b_o and d_[O^1 ... O^N].
  Split into heads, the latter is d_O^n, from which the attention rule gives d_q^n, d_k^n and
  d_v^n. Concatenated, they go through the linear rule of each projection. Splitting and
  merging heads are permutations, each other's transpose. The context reaches y through keys
  and values, so its two cotangents are added; in self-attention x has three, all added.

  Args:
    params: `query`, `key`, `value`, `out`, each the params of a linear layer.
    x: `(..., T, d_model)`.
    context: `(..., T_context, d_context)`; None for self-attention.
    d_out: d_y, `(..., T, d_model)`, in the dtype of y.
    num_heads, mask, is_causal: as in the layer.

  Returns:
    (d_params, d_x), or (d_params, d_x, d_context) with a context.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: as for the module.
  """
  memory = x if context is None else context
  inputs = {"query": x, "key": memory, "value": memory}
  heads = {name: split_heads(_linear(params[name], v), num_heads) for name, v in inputs.items()}
  a = weights(heads["query"], heads["key"], mask=mask, is_causal=is_causal)
  merged = merge_heads(a.astype(jnp.result_type(heads["query"], heads["key"])) @ heads["value"])
  d_out_params, d_merged = linear.apply_vjp(params["out"], merged, d_out=d_out)
  d_heads = dot_product_attention_vjp(
      *heads.values(), d_out=split_heads(d_merged, num_heads), mask=mask, is_causal=is_causal
  )
  d_params, d_inputs = {"out": d_out_params}, {}
  for (name, v), d_head in zip(inputs.items(), d_heads):
    d_params[name], d_inputs[name] = linear.apply_vjp(params[name], v, d_out=merge_heads(d_head))
  d_memory = d_inputs["key"] + d_inputs["value"]
  if context is None:
    return d_params, d_inputs["query"] + d_memory
  return d_params, d_inputs["query"], d_memory
