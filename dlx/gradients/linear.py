"""The gradient of the linear layer, derived by hand."""

import jax.numpy as jnp

from dlx.gradients import checks


def contract(x, y):
  """The sum of x^T y over all leading dimensions: (..., D1), (..., D2) -> (D1, D2).

  It is one matrix product, or the outer product if there are no leading dimensions.
  """
  axes = tuple(range(x.ndim - 1))
  return jnp.tensordot(x, y, axes=(axes, axes))


def apply_vjp(params, x, *, d_out):
  """The vector-Jacobian product of `dlx.layers.linear.apply`, y = x W + b.

  For one example, y_j = sum_i x_i W_ij + b_j, so the derivatives of y_j are W_ij with
  respect to x_i, x_i with respect to W_ij, and 1 with respect to b_j; those of any
  other y_k are W_ik, 0 and 0. The chain rule sums over the outputs that depend on an input:

    d_x_i  = sum_j d_y_j W_ij     d_x = d_y W^T
    d_W_ij = x_i d_y_j            d_W = x^T d_y
    d_b_j  = d_y_j                d_b = d_y

  All examples share W and b, so d_W and d_b are summed over the leading dimensions.

  Args:
    params: `kernel (d_in, d_out)` and, optionally, `bias (d_out,)`.
    x: `(..., d_in)`.
    d_out: d_y, `(..., d_out)`, in the dtype of y.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y.

  Source: Rumelhart, Hinton, Williams, "Learning representations by back-propagating
    errors" (1986), equations 5 to 7.
  """
  kernel = params["kernel"]
  shape = (*x.shape[:-1], kernel.shape[1])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(x, *params.values()))
  d_params = {"kernel": contract(x, d_out).astype(kernel.dtype)}
  if "bias" in params:
    leading = tuple(range(d_out.ndim - 1))
    d_params["bias"] = d_out.sum(leading).astype(params["bias"].dtype)
  return d_params, (d_out @ kernel.T).astype(x.dtype)
