"""The gradient of convolution and of transposed convolution, derived by hand.

In one dimension, with stride s, dilation d and low padding p, kernel element i of output u
reads the input at index u s + i d - p (zero where that is outside), and

  y[u] = b + sum_i x[u s + i d - p] K[i]

where x[.] and y[u] are vectors of channels and K[i] is a matrix (c_in, c_out). An image
has two such dimensions: u and i become pairs, and nothing else changes.

The derivative of y[u] with respect to K[i] is the input that element i reads, and with
respect to that input it is K[i]. So, with one product per kernel element i,

  d_K[i]              = sum_u x[u s + i d - p]^T d_y[u]
  d_x[u s + i d - p] += d_y[u] K[i]^T                     for every u
  d_b                 = sum_u d_y[u]

and the cotangents of K and b, which all examples share, are summed over examples too. With
m = u s + i d - p, the second line is d_x[m] = sum_i d_y[(m + p - i d) / s] K[i]^T over the i
for which the index is an integer: a convolution of d_y, with s - 1 zeros between its
elements, with the kernel flipped and its channels swapped.

The transposed convolution is that map: each input position adds a scaled copy of the kernel
to the output, y[u s + i d - p] += x[u] K[i]. Its gradient has the same two products with the
roles of input and output swapped:

  d_K[i] = sum_u x[u]^T d_y[u s + i d - p]
  d_x[u] = sum_i d_y[u s + i d - p] K[i]^T

With groups, channels are split into equal parts, and part g of the output depends only on
part g of the input; every product above is then one product per part.

Source: LeCun et al., "Backpropagation applied to handwritten zip code recognition"
(1989), for the shared weights; Dumoulin, Visin, "A guide to convolution arithmetic for
deep learning" (2016), sections 2 and 4, for the geometry and the transpose. The
derivation is the chain rule above. dlx/gradients/blocked_conv.py computes the same
cotangents faster on CPU.
"""

import math

import jax.numpy as jnp

from dlx.gradients import checks, windows


def _split(x, groups):
  """Channels (..., C) as (..., groups, C / groups)."""
  return x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)


def _kernel_vjp(x, d_y, groups):
  """The sum of x^T d_y over all positions, per group: (C_in / g, g, C_out / g)."""
  places = math.prod(x.shape[:-1])
  x, d_y = (_split(v.reshape(places, v.shape[-1]), groups) for v in (x, d_y))
  return jnp.einsum("ngi,ngo->igo", x, d_y)


def _input_vjp(d_y, kernel, groups):
  """d_y K^T, per group: (..., C_in)."""
  d_x = jnp.einsum("...go,igo->...gi", _split(d_y, groups), _split(kernel, groups))
  return d_x.reshape(*d_x.shape[:-2], math.prod(d_x.shape[-2:]))


def _params_vjp(params, d_kernel, d_y):
  """The cotangents of kernel and bias, if params has one, in their shapes and dtypes."""
  d_params = {"kernel": jnp.stack(d_kernel).reshape(params["kernel"].shape)}
  if "bias" in params:
    d_params["bias"] = d_y.sum(tuple(range(d_y.ndim - 1)))
  return {name: d_params[name].astype(value.dtype) for name, value in params.items()}


def apply_vjp(params, x, *, d_out, strides=1, padding="SAME", dilation=1, groups=1):
  """The vector-Jacobian product of `dlx.layers.conv.apply`.

  For each kernel element, the inputs that it reads times d_y are its cotangent, and d_y
  times the element is added to those inputs' cotangents; see the module's derivation.

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., H, W, C_in)`.
    d_out: d_y, `(..., H_out, W_out, C_out)`, in the dtype of y.
    strides, padding, dilation, groups: as in the layer.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y, or an option is invalid.

  Source: the module's.
  """
  kernel = params["kernel"]
  w = windows.over(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  shape = (*x.shape[:-3], *w.out, kernel.shape[-1])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(x, *params.values()))
  d_kernel, d_x, padded = [], 0, w.pad(x)
  for i, j in w.elements():
    d_kernel.append(_kernel_vjp(w.seen(padded, i, j), d_out, groups))
    d_x += w.unseen(_input_vjp(d_out, kernel[i, j], groups), i, j)
  return _params_vjp(params, d_kernel, d_out), d_x.astype(x.dtype)


def transpose_vjp(params, x, *, d_out, strides=1, padding="SAME", dilation=1, groups=1):
  """The vector-Jacobian product of `dlx.layers.conv.transpose`.

  For each kernel element, the d_y that it was added to are read: times x they are its
  cotangent, times the element that of x; see the module's derivation.

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., H, W, C_in)`.
    d_out: d_y, `(..., H_out, W_out, C_out)`, in the dtype of y.
    strides, padding, dilation, groups: as in the layer.

  Returns:
    (d_params, d_x), in the shapes and dtypes of params and x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y, or an option is invalid.

  Source: the module's.
  """
  kernel = params["kernel"]
  w = windows.transposed(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  shape = (*x.shape[:-3], *w.size, kernel.shape[-1])
  checks.expect_like("d_out", d_out, shape, jnp.result_type(x, *params.values()))
  d_kernel, d_x, padded = [], 0, w.pad(d_out)
  for i, j in w.elements():
    seen = w.seen(padded, i, j)
    d_kernel.append(_kernel_vjp(x, seen, groups))
    d_x += _input_vjp(seen, kernel[i, j], groups)
  return _params_vjp(params, d_kernel, d_out), d_x.astype(x.dtype)
