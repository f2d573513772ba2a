"""The gradient of the residual sum (skip connection), derived by hand."""

import jax.numpy as jnp

from dlx.gradients import checks


def add_vjp(x, branch, factor, *, d_out):
  """The vector-Jacobian product of y = k x + b, with a scalar k and a residual branch b.

  k (the factor, lambda in papers) is one number for all elements. The derivatives of y_i are
  k with respect to x_i, 1 with respect to b_i, and x_i with respect to k, which affects every
  element, so its cotangents are summed:

    d_x = k d_y
    d_b = d_y
    d_k = sum_i x_i d_y_i

  If b = g(x), x also receives the cotangent of the branch, k d_y + d_y dg/dx in total: with
  k = 1 a cotangent is not attenuated by the depth of the network.

  Args:
    x: any shape.
    branch: b, in the shape of x.
    factor: k, a number or `()`.
    d_out: d_y, in the shape of x and the dtype of y.

  Returns:
    (d_x, d_branch, d_factor), in the shapes and dtypes of the inputs; d_factor is summed
    in at least float32.

  Raises:
    ValueError: branch does not have the shape of x, factor is not one number, or d_out
      does not have the shape or the dtype of y.

  Source: He et al., "Identity mappings in deep residual networks" (2016), section 3.
  """
  checks.expect_like("branch", branch, jnp.shape(x))
  checks.expect_like("factor", factor, ())
  dtype = jnp.result_type(x, branch, factor)
  checks.expect_like("d_out", d_out, jnp.shape(x), dtype)
  wide = jnp.promote_types(dtype, jnp.float32)
  d_factor = jnp.sum(x.astype(wide) * d_out.astype(wide))
  d_x, d_branch = factor * d_out, d_out
  return (
      d_x.astype(x.dtype),
      d_branch.astype(branch.dtype),
      d_factor.astype(jnp.result_type(factor)),
  )
