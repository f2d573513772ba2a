"""Attention in blocks of queries and keys, and its gradient, in linear memory.

The T x T weights are never materialized: a block of scores is computed, used and discarded.
Notation as in dlx/gradients/attention.py, with the scale already in Q.

Forward. The softmax of a row can be accumulated over blocks of keys. Let m be the largest
score so far, l = sum e^(S - m) and o = sum e^(S - m) V over the keys so far. The next block
with scores S' has m' = max(m, max S'), and

  l' = l e^(m - m') + sum e^(S' - m'),   o' = o e^(m - m') + e^(S' - m') V'

and at the end O = o / l (l = 0, and O = 0, for a fully masked row). The residuals are O and,
two numbers per row, m and l. Not their m + log l: in float32 a large |m|, such as that of a row
whose keys all have a bias of -1e9, would swallow log l.

Backward. A block's weights are recomputed from its scores without a softmax, A = E / l with
E = e^(S - m), and the row sum that d_S needs is known in advance, because
rowsum(A * d_A) = rowsum(A * (d_O V^T)) = rowsum(d_O * (A V)) = rowsum(d_O * O).
m and l are outputs too (second derivatives need their cotangents). No other m would change O,
so m counts as a constant; then dl/dS = E. With P = d_O / l and delta = rowsum(P * O) - d_l,

  d_S = E * (P V^T - delta),   d_Q += d_S K,   d_K += d_S^T Q,   d_V += E^T P

over all pairs of blocks. With a bias d_B += d_S, summed over the axes along which it was
repeated, and with a soft cap d_S times 1 - tanh^2 is d_S in d_Q and d_K, as there. Blocks
without a key that causality and the window allow are skipped (attention_grid.py), and a mask
is applied only to blocks that intersect the diagonal, the end of the keys or a given mask.

The loops slice the time axes only and keep leading dimensions whole, so that a batch that is
sharded over devices stays sharded. XLA's matrix products on CPU are three times slower with
a transposed left operand, so the backward pass computes S^T = K Q^T and accumulates
d_Q^T = K^T d_S^T. Everything is computed in at least float32.

Source: Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018) for
  the forward pass; Dao et al., "FlashAttention" (2022), appendix B, for the backward.
"""

import functools

from jax import lax
import jax.numpy as jnp

from dlx.gradients import attention_grid, checks, head_groups, varying
from dlx.gradients.attention import allowed, capped, reach, transpose


def _at(x, i, size, axis=-2):
  """Block i with `size` steps along an axis."""
  return lax.dynamic_slice_in_dim(x, i * size, size, axis)


def _put(x, block, i, axis=-2):
  """x with block i along an axis replaced."""
  return lax.dynamic_update_slice_in_dim(x, block.astype(x.dtype), i * block.shape[axis], axis)


def _pad(x, size, axis=-2, value=0):
  """x with the axis padded to a multiple of `size`."""
  widths = [(0, 0)] * x.ndim
  widths[axis] = (0, -x.shape[axis] % size)
  return jnp.pad(x, widths, constant_values=value) if any(widths[axis]) else x


def _make_grid(query, key, mask, bias, is_causal, local_window_size, sizes):
  q, k = sizes

  def padded(x):
    if x is None:
      return None
    x = jnp.atleast_2d(x)
    x = _pad(x, q, -2) if x.shape[-2] > 1 else x
    return _pad(x, k, -1) if x.shape[-1] > 1 else x

  limits = reach(is_causal, local_window_size)
  mask, bias = padded(mask), padded(bias)
  return attention_grid.Grid(mask, bias, *limits, query.shape[-2], key.shape[-2], q, k)


def _scores(x, y, bias, softcap):
  """(S, dS/dR) of a block or its transpose, R = x y^T."""
  s, slope = capped(x @ transpose(y), softcap)
  return (s if bias is None else s + bias.astype(s.dtype)), slope


def attend(
    query, key, value, mask=None, bias=None, *, is_causal=False, local_window_size=None,
    softcap=None, sizes,
):  # fmt: skip
  """(O, m, l) as in the module's derivation.

  Args:
    query: the scale times Q, `(..., T_query, D)`.
    key: `(..., T_key, D)`; leading dimensions of 1 broadcast to those of query.
    value: `(..., T_key, D_value)`.
    mask: True where attention is allowed, broadcasts to (..., T_query, T_key).
    bias: added to the scores, broadcasts as the mask.
    is_causal: mask keys later than the query.
    local_window_size, softcap: as in the layer.
    sizes: the numbers of queries and of keys in a block.

  Returns:
    O, `(..., T_query, D_value)`; m, the largest score of each row, and l = sum e^(S - m), both
    `(..., T_query)`, in at least float32.
  """
  blocks = _make_grid(query, key, mask, bias, is_causal, local_window_size, sizes)
  leading, num_queries = query.shape[:-2], query.shape[-2]
  axes = varying.axes(query, key, value, mask, bias)  # Of the loops' states.
  out_dtype = jnp.result_type(query, key, value)
  dtype = jnp.promote_types(out_dtype, jnp.float32)
  query, key, value = (x.astype(dtype) for x in (query, key, value))
  query, key, value = _pad(query, blocks.q), _pad(key, blocks.k), _pad(value, blocks.k)

  def row(i, outputs):
    q_i = _at(query, i, blocks.q)

    def column(in_part, j, state):
      o, m, total = state
      s, _ = _scores(q_i, _at(key, j, blocks.k), blocks.bias_of(i, j), softcap)
      if in_part:
        s = jnp.where(blocks.allowed(i, j), s, -jnp.inf)
      new_m = jnp.maximum(m, s.max(-1, keepdims=True))
      e, shrink = jnp.exp(s - new_m), jnp.exp(m - new_m)
      o = o * shrink + e @ _at(value, j, blocks.k)
      return o, new_m, total * shrink + e.sum(-1, keepdims=True)

    start, full, end = blocks.of_row(i)
    # The smallest finite number instead of -inf, so that m - m' is never inf - inf.
    state = varying.spread((
        jnp.zeros((*leading, blocks.q, value.shape[-1]), dtype),
        jnp.full((*leading, blocks.q, 1), jnp.finfo(dtype).min),
        jnp.zeros((*leading, blocks.q, 1), dtype),
    ), axes)  # fmt: skip
    state = lax.fori_loop(start, full, functools.partial(column, False), state)
    o, m, total = lax.fori_loop(full, end, functools.partial(column, True), state)
    out = _put(outputs[0], o / jnp.where(total == 0, 1, total), i)
    return out, *(_put(x, y[..., 0], i, -1) for x, y in zip(outputs[1:], (m, total)))

  out = jnp.zeros((*query.shape[:-1], value.shape[-1]), out_dtype)
  rows = jnp.zeros(query.shape[:-1], dtype)
  outputs = varying.spread((out, rows, rows), axes)
  out, m, total = lax.fori_loop(0, blocks.rows, row, outputs)
  return out[..., :num_queries, :], m[..., :num_queries], total[..., :num_queries]


def _per_row(out, total, d_out, d_total):
  """(P, delta) as in the module's derivation."""
  p = d_out / jnp.where(total == 0, 1, total)[..., None]
  return p, (out * p).sum(-1) - d_total


def attend_vjp(
    query, key, value, mask, bias, out, m, total, d_out, d_total, *, is_causal=False,
    local_window_size=None, softcap=None, sizes,
):  # fmt: skip
  """The cotangents of query, key, value and bias of `attend`, by the module's derivation.

  Args:
    query, key, value, mask, bias: as for `attend`.
    out, m, total: the outputs O, m and l of `attend`.
    d_out, d_total: the cotangents of out and total.
    is_causal, local_window_size, softcap, sizes: as for `attend`.

  Returns:
    (d_query, d_key, d_value, d_bias), in the shapes and dtypes of query, key, value and bias;
    d_bias is None without a bias.
  """
  blocks = _make_grid(query, key, mask, bias, is_causal, local_window_size, sizes)
  num_queries, num_keys = query.shape[-2], key.shape[-2]
  dtypes = query.dtype, key.dtype, value.dtype
  dtype, axes = m.dtype, varying.axes(query, key, value, mask, bias, d_out)
  query, key, value, out, d_out = (x.astype(dtype) for x in (query, key, value, out, d_out))
  p, delta = _per_row(out, total, d_out, d_total)
  p, delta, m = _pad(p, blocks.q), _pad(delta, blocks.q, -1), _pad(m, blocks.q, -1, jnp.inf)
  query = _pad(query, blocks.q)
  key, value = _pad(key, blocks.k), _pad(value, blocks.k)
  key_t = transpose(key)

  def column(j, cotangents):
    k_j, v_j = _at(key, j, blocks.k), _at(value, j, blocks.k)
    k_t = _at(key_t, j, blocks.k, -1)

    def row(in_part, i, state):
      d_q_t, d_b, d_k, d_v = state
      q_i, p_i = _at(query, i, blocks.q), _at(p, i, blocks.q)
      b_t = None if bias is None else transpose(blocks.bias_of(i, j))
      s_t, slope = _scores(k_j, q_i, b_t, softcap)
      if in_part:
        s_t = jnp.where(transpose(blocks.allowed(i, j)), s_t, -jnp.inf)
      e_t = jnp.exp(s_t - _at(m, i, blocks.q, -1)[..., None, :])
      d_s_t = e_t * (v_j @ transpose(p_i) - _at(delta, i, blocks.q, -1)[..., None, :])
      d_b = d_b if bias is None else blocks.add(d_b, transpose(d_s_t), i, j)
      d_r_t = d_s_t if slope is None else d_s_t * slope
      d_q_t = _put(d_q_t, _at(d_q_t, i, blocks.q, -1) + k_t @ d_r_t, i, -1)
      d_k += head_groups.sum_to(d_r_t @ q_i, d_k.shape)
      return d_q_t, d_b, d_k, d_v + head_groups.sum_to(e_t @ p_i, d_v.shape)

    d_q_t, d_b, d_key, d_value = cotangents
    start, full, end = blocks.of_column(j)
    state = d_q_t, d_b, *varying.spread((jnp.zeros_like(k_j), jnp.zeros_like(v_j)), axes)
    state = lax.fori_loop(start, full, functools.partial(row, True), state)
    d_q_t, d_b, d_k, d_v = lax.fori_loop(full, end, functools.partial(row, False), state)
    return d_q_t, d_b, _put(d_key, d_k, j), _put(d_value, d_v, j)

  zeros = jnp.zeros_like(transpose(query)), blocks.zeros(dtype), jnp.zeros_like(key)
  zeros = varying.spread((*zeros, jnp.zeros_like(value)), axes)
  d_query_t, d_bias, d_key, d_value = lax.fori_loop(0, blocks.columns, column, zeros)
  d_query = transpose(d_query_t)[..., :num_queries, :]
  found = d_query, d_key[..., :num_keys, :], d_value[..., :num_keys, :]
  if bias is not None:
    d_bias = d_bias[..., :num_queries, :num_keys].reshape(bias.shape).astype(bias.dtype)
  return *(x.astype(d) for x, d in zip(found, dtypes)), d_bias


def saved_vjp(
    query, key, value, mask, bias, out, m, total, d_out, d_total, *, is_causal=False,
    local_window_size=None, softcap=None,
):  # fmt: skip
  """`attend_vjp` with a single block, which jax can differentiate.

  It has the arguments and results of `attend_vjp`, and materializes all weights.
  """
  dtypes = query.dtype, key.dtype, value.dtype
  query, key, value, out, d_out = (x.astype(m.dtype) for x in (query, key, value, out, d_out))
  s, slope = _scores(query, key, bias, softcap)
  where = allowed(mask, is_causal, *s.shape[-2:], local_window_size)
  if where is not None:
    s = jnp.where(where, s, -jnp.inf)
  e, (p, delta) = jnp.exp(s - m[..., None]), _per_row(out, total, d_out, d_total)
  d_s = e * (p @ transpose(value) - delta[..., None])
  d_bias = None if bias is None else head_groups.sum_to(d_s, bias.shape).astype(bias.dtype)
  d_r = d_s if slope is None else d_s * slope
  repeated = (transpose(d_r) @ query, key), (transpose(e) @ p, value)
  found = d_r @ key, *(head_groups.sum_to(d, x.shape) for d, x in repeated)
  return *(x.astype(d) for x, d in zip(found, dtypes)), d_bias


def dot_product_attention_vjp(
    query, key, value, bias=None, *, d_out, mask=None, scale=None, sizes=(128, 128), **options
):
  """`dlx.gradients.attention.dot_product_attention_vjp`, computed in blocks.

  The forward pass computes O, m and l, then the backward pass; with c Q for Q, d_Q is c times
  its result.

  Args:
    query, key, value, bias, d_out, mask, scale: as there.
    sizes: the numbers of queries and of keys in a block.
    options: is_causal, local_window_size and softcap, as there.

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
  scale = query.shape[-1] ** -0.5 if scale is None else scale
  scaled = scale * query.astype(jnp.promote_types(d_out.dtype, jnp.float32))
  outputs = attend(scaled, key, value, mask, bias, **options, sizes=sizes)
  d_scaled, *others = attend_vjp(
      scaled, key, value, mask, bias, *outputs, d_out, jnp.zeros_like(outputs[-1]), **options,
      sizes=sizes,
  )
  found = (scale * d_scaled).astype(query.dtype), *others
  return tuple(d.reshape(shape) for d, shape in zip(found, given))
