"""The gradients of the embedding and of the tied output layer, derived by hand."""

import jax.numpy as jnp

from dlx.gradients import checks, linear


def lookup_vjp(params, *, ids, d_out):
  """The vector-Jacobian product of `dlx.layers.embedding.lookup`, y = E[ids].

  y = one_hot(ids) E is a linear layer with one-hot inputs, so d_E is the sum over positions of
  one_hot(id)^T d_y: each d_y is added to the row that was looked up,

    d_E[v] = sum of d_y over the positions with id v

  A row that is used twice receives both cotangents, an unused row zero. An id out of range
  contributes to no row. The sum is accumulated in at least float32.

  Args:
    params: `embedding (V, D)`.
    ids: integers, `(...)`; no cotangent.
    d_out: d_y, `(..., D)`, in the table's dtype.

  Returns:
    d_params, `embedding (V, D)` in the table's dtype.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: Bengio et al., "A neural probabilistic language model" (2003), section 3.1.
  """
  table = params["embedding"]
  checks.expect_like("d_out", d_out, (*jnp.shape(ids), table.shape[1]), table.dtype)
  wide = jnp.promote_types(table.dtype, jnp.float32)
  rows = jnp.zeros(table.shape, wide).at[ids]
  d_table = rows.add(d_out.astype(wide), mode="drop", wrap_negative_indices=False)
  return {"embedding": d_table.astype(table.dtype)}


def logits_vjp(params, x, *, d_out):
  """The vector-Jacobian product of `dlx.layers.embedding.logits`, y = x E^T.

  This is a linear layer with the kernel W = E^T, so d_x = d_y W^T and d_W = x^T d_y give

    d_x = d_y E
    d_E = (x^T d_y)^T = d_y^T x      summed over the leading dimensions

  If the table is also used for `lookup`, its gradient is the sum of both.

  Args:
    params: `embedding (V, D)`.
    x: `(..., D)`.
    d_out: d_y, `(..., V)`, in the dtype of y.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: Press and Wolf, "Using the output embedding to improve language models" (2017).
  """
  table = params["embedding"]
  shape = (*x.shape[:-1], table.shape[0])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(x, table))
  d_table = linear.contract(d_out, x).astype(table.dtype)
  return {"embedding": d_table}, (d_out @ table).astype(x.dtype)
