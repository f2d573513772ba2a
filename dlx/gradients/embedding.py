"""The gradients of the embedding and of the tied output layer, derived by hand."""

import jax.numpy as jnp

from dlx.gradients import checks, linear


def lookup_vjp(params, *, ids, d_out):
  """The vector-Jacobian product of `dlx.layers.embedding.lookup`, y = E[ids].

  y = one_hot(ids) E is a linear layer whose input holds a single 1, so d_E is the sum
  over places of one_hot(id)^T d_y: each d_y is added to the row that was looked up,

    d_E[v] = sum of d_y over the places with id v

  A row that is used twice receives both cotangents, an unused row zero. An id outside
  the table reads no row and adds to none. The sum is in at least float32.

  Args:
    params: `embedding (vocab_size, d)`.
    ids: integers, `(...)`; no cotangent.
    d_out: d_y, `(..., d)`, in the table's dtype.

  Returns:
    d_params, `embedding (vocab_size, d)` in the table's dtype.

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

  A linear layer with the kernel W = E^T: from d_x = d_y W^T and d_W = x^T d_y follow

    d_x = d_y E
    d_E = (x^T d_y)^T = d_y^T x      summed over the leading dimensions

  Where the table is also looked up, its gradient is the sum of both uses.

  Args:
    params: `embedding (vocab_size, d)`.
    x: `(..., d)`.
    d_out: d_y, `(..., vocab_size)`, in the dtype of y.

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
