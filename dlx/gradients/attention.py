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

Options of the scores, with R = c Q K^T:

- A bias B is added, S = R + B. It broadcasts, so d_B is d_S, summed over the axes along which
  B was repeated. A bias of -inf masks: A = 0 there.
- A soft cap g > 0 bounds the product, S = g tanh(R / g) + B. As tanh' = 1 - tanh^2,
  d_R = d_S * (1 - tanh^2(R / g)), and d_Q = c d_R K, d_K = c d_R^T Q.
- A window (l, r) masks all keys s of query t but those of t - l <= s <= t + r.
- Grouped queries: a head of keys and values that G query heads share has the sum of their
  cotangents (dlx/gradients/head_groups.py).

The scores and the softmax are computed in at least float32, other products in the dtype of
their inputs.

Source: Vaswani et al., "Attention is all you need" (2017), for the function;
  Dao et al., "FlashAttention" (2022), appendix B.2, for its derivative; Gemma team, "Gemma 2"
  (2024), section 2, for soft caps; Beltagy et al., "Longformer" (2020), for windows.
"""

import jax.numpy as jnp

from dlx.gradients import checks, head_groups, linear, softmax


def dot(x, y):
  """x y, accumulated and returned in at least float32."""
  dtype = jnp.promote_types(jnp.result_type(x, y), jnp.float32)
  return jnp.matmul(x, y, preferred_element_type=dtype)


def transpose(x):
  """Swaps the last two dimensions."""
  return jnp.swapaxes(x, -1, -2)


def reach(is_causal, local_window_size):
  """(left, right): query t attends to keys t - left to t + right; None is no limit."""
  pair = isinstance(local_window_size, tuple)
  left, right = local_window_size if pair else (local_window_size, local_window_size)
  return left, 0 if is_causal else right


def allowed(mask, is_causal, num_queries, num_keys, local_window_size=None):
  """`mask`, combined with the causal mask and the window's; None if nothing is masked."""
  left, right = reach(is_causal, local_window_size)
  if right is not None:
    until = jnp.arange(num_keys) <= jnp.arange(right, num_queries + right)[:, None]
    mask = until if mask is None else until & mask
  if left is not None:
    since = jnp.arange(num_keys) >= jnp.arange(-left, num_queries - left)[:, None]
    mask = since if mask is None else since & mask
  return mask


def capped(scores, softcap):
  """(g tanh(R / g), 1 - tanh^2(R / g)) of the scores R; (R, None) without a cap."""
  if softcap is None:
    return scores, None
  t = jnp.tanh(scores / softcap)
  return softcap * t, 1 - t * t


def weights(
    query, key, bias=None, *, mask=None, is_causal=False, local_window_size=None, scale=None,
    softcap=None,
):  # fmt: skip
  """A, `(..., N, T_query, T_key)`, in at least float32; see `dlx.layers.attention.weights`.

  The heads of queries and keys are equally many, or have been split into groups.
  """
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  scores, _ = capped(scale * dot(query, transpose(key)), softcap)
  if bias is not None:
    scores = scores + bias.astype(scores.dtype)
  where = allowed(mask, is_causal, *scores.shape[-2:], local_window_size)
  return softmax.probabilities(scores, where=where)


def attend(query, key, value, bias=None, *, mask=None, **options):
  """O = A V, `(..., N, T_query, D_value)`; see `dlx.layers.attention.dot_product_attention`."""
  shape, dtype = query.shape, jnp.result_type(query, key)
  if head_groups.present(query, key):
    query, key, value, bias, mask = head_groups.split(key, query, key, value, bias, mask)
  a = weights(query, key, bias, mask=mask, **options).astype(dtype)
  return (a @ value).reshape(*shape[:-1], value.shape[-1])


def _scores_vjp(a, d_a):
  """d_S from A and d_A."""
  return a * (d_a - (a * d_a).sum(-1, keepdims=True))


def _product_vjp(query, key, d_s, scale, softcap):
  """(d_query, d_key) from d_S."""
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  if softcap is not None:  # R again; jit merges it with that of the weights.
    d_s = d_s * capped(scale * dot(query, transpose(key)), softcap)[1]
  d_s = (scale * d_s).astype(jnp.result_type(query, key))
  d_key = head_groups.sum_to(transpose(d_s) @ query, key.shape)
  return (d_s @ key).astype(query.dtype), d_key.astype(key.dtype)


def _bias_vjp(bias, d_s):
  """(d_bias,) from d_S; () without a bias."""
  return () if bias is None else (head_groups.sum_to(d_s, bias.shape).astype(bias.dtype),)


def weights_vjp(
    query, key, bias=None, *, d_out, mask=None, is_causal=False, local_window_size=None, scale=None,
    softcap=None,
):  # fmt: skip
  """The vector-Jacobian product of `dlx.layers.attention.weights`, A = softmax(S).

  The last two steps of the module's derivation, with d_A given:

    d_S = A * (d_A - rowsum(A * d_A)),   d_B = d_S, summed,   d_R = d_S * (1 - tanh^2(R / g)),
    d_Q = c d_R K,   d_K = c d_R^T Q

  Args:
    query: `(..., N, T_query, D)`.
    key: `(..., K, T_key, D)`.
    bias: broadcasts to `(..., N, T_query, T_key)`, or None.
    d_out: d_A, `(..., N, T_query, T_key)`, in the dtype of the weights.
    mask, is_causal, local_window_size, scale, softcap: as in the layer.

  Returns:
    (d_query, d_key), or (d_query, d_key, d_bias) with a bias, in their shapes and dtypes.

  Raises:
    ValueError: d_out does not have the shape or the dtype of the weights.

  Source: as for the module.
  """
  shape = (*query.shape[:-1], key.shape[-2])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(query, key))
  given = [x.shape for x in (query, key, bias) if x is not None]
  if head_groups.present(query, key):
    query, key, bias, mask, d_out = head_groups.split(key, query, key, bias, mask, d_out)
  options = {"mask": mask, "is_causal": is_causal, "local_window_size": local_window_size}
  a = weights(query, key, bias, scale=scale, softcap=softcap, **options)
  d_s = _scores_vjp(a, d_out.astype(a.dtype))
  found = *_product_vjp(query, key, d_s, scale, softcap), *_bias_vjp(bias, d_s)
  return tuple(d.reshape(shape) for d, shape in zip(found, given))


def dot_product_attention_vjp(
    query, key, value, bias=None, *, d_out, mask=None, is_causal=False, local_window_size=None,
    scale=None, softcap=None,
):  # fmt: skip
  """The vector-Jacobian product of `dlx.layers.attention.dot_product_attention`, O = A V.

  All three steps of the module's derivation:

    d_V = A^T d_O,   d_A = d_O V^T,   d_S = A * (d_A - rowsum(A * d_A)),
    d_B = d_S, summed,   d_R = d_S * (1 - tanh^2(R / g)),   d_Q = c d_R K,   d_K = c d_R^T Q

  Args:
    query: `(..., N, T_query, D)`.
    key: `(..., K, T_key, D)`.
    value: `(..., K, T_key, D_value)`.
    bias: broadcasts to `(..., N, T_query, T_key)`, or None.
    d_out: d_O, `(..., N, T_query, D_value)`, in the dtype of the output.
    mask, is_causal, local_window_size, scale, softcap: as in the layer.

  Returns:
    (d_query, d_key, d_value), or with a bias (d_query, d_key, d_value, d_bias), in their
    shapes and dtypes.

  Raises:
    ValueError: d_out does not have the shape or the dtype of the output.

  Source: as for the module.
  """
  shape = (*query.shape[:-1], value.shape[-1])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(query, key, value))
  given = [x.shape for x in (query, key, value, bias) if x is not None]
  if head_groups.present(query, key):
    arrays = query, key, value, bias, mask, d_out
    query, key, value, bias, mask, d_out = head_groups.split(key, *arrays)
  options = {"mask": mask, "is_causal": is_causal, "local_window_size": local_window_size}
  a = weights(query, key, bias, scale=scale, softcap=softcap, **options)
  d_value = head_groups.sum_to(transpose(a.astype(d_out.dtype)) @ d_out, value.shape)
  d_value = d_value.astype(value.dtype)
  d_s = _scores_vjp(a, dot(d_out, transpose(value)))
  found = *_product_vjp(query, key, d_s, scale, softcap), d_value, *_bias_vjp(bias, d_s)
  return tuple(d.reshape(shape) for d, shape in zip(found, given))


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
    params, x, context=None, bias=None, *, d_out, num_heads, **options
):
  """The vector-Jacobian product of `dlx.layers.attention.multi_head`.

  With m the context (x itself in self-attention), the layer is

    q = x W_q + b_q    (T, N D), split into N heads
    k = m W_k + b_k,   v = m W_v + b_v    (T, K D), split into K heads, K = N if not grouped
    O^n = attention of q^n to k^n and v^n    for each head n
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
    bias: broadcasts to `(..., N, T, T_context)`, or None.
    d_out: d_y, `(..., T, d_model)`, in the dtype of y.
    num_heads: N.
    options: mask, is_causal, local_window_size and softcap, as in the layer.

  Returns:
    The cotangents (d_params, d_x, d_context, d_bias) without those of absent arguments.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: as for the module.
  """
  memory = x if context is None else context
  inputs = {"query": x, "key": memory, "value": memory}
  query, key, value = (_linear(params[name], v) for name, v in inputs.items())
  num_keys = key.shape[-1] * num_heads // query.shape[-1]
  heads = split_heads(query, num_heads), *(split_heads(h, num_keys) for h in (key, value))
  merged = merge_heads(attend(*heads, bias, **options))
  d_out_params, d_merged = linear.apply_vjp(params["out"], merged, d_out=d_out)
  d_heads = dot_product_attention_vjp(
      *heads, bias, d_out=split_heads(d_merged, num_heads), **options
  )
  d_params, d_inputs, d_bias = {"out": d_out_params}, {}, d_heads[3:]
  for (name, v), d_head in zip(inputs.items(), d_heads):
    d_params[name], d_inputs[name] = linear.apply_vjp(params[name], v, d_out=merge_heads(d_head))
  d_memory = d_inputs["key"] + d_inputs["value"]
  if context is None:
    return d_params, d_inputs["query"] + d_memory, *d_bias
  return d_params, d_inputs["query"], d_memory, *d_bias
