"""The gradient of max and average pooling, derived by hand.

In one dimension, with stride s, dilation e and low padding p, element i of window u reads the
input at index u s + i e - p.

  max:      y[u] = max_i x[u s + i e - p]       padding is -inf
  average:  y[u] = sum_i x[u s + i e - p] / n[u]    padding is 0, n[u] defined below

Channels are pooled independently; an image has two such dimensions. The derivative of a
maximum with respect to its largest argument is 1, with respect to the others 0; that of
an average is 1 / n[u] with respect to each. The transpose of reading adds a value back to
where it was read, once per window where windows overlap, so

  max:      d_x[u s + i e - p] += d_y[u]          where element i is the largest of window u
  average:  d_x[u s + i e - p] += d_y[u] / n[u]   for every element i

At ties the maximum is not differentiable. The first maximum in row-major order receives all
of d_y[u]; this is a subgradient, and the choice of jax's reduce_window. If that element is
padding (every x in the window is -inf), d_y[u] is dropped. A nan makes y[u] nan in every window
that has it; then d_y[u] goes where XLA's comparisons end: to the first maximum of the elements
after the last nan, or to that nan if none follow.

n[u] is the number of elements of the window, including or excluding padding. Ceil mode adds
windows at the end, which start in the image or its low padding; where they reach beyond the
padding, they read -inf or 0 too, but these elements never count in n[u].

Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3, for pooling;
the derivation is the chain rule above.
"""

import jax.numpy as jnp

from dlx.gradients import checks, windows


def max_pool_vjp(
    x, *, d_out, window, strides=None, padding="VALID", ceil_mode=False, dilation=1
):
  """The vector-Jacobian product of `dlx.layers.pooling.max_pool`.

  d_y is added to the first element of each window that equals its maximum.

  Args:
    x: `(..., H, W, C)`.
    d_out: d_y, `(..., H_out, W_out, C)`, in the dtype of x.
    window, strides, padding, ceil_mode, dilation: as in the layer.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y, or an option is invalid.

  Source: the module's.
  """
  w = windows.pooled(x.shape[-3:-1], window, strides, padding, dilation, ceil_mode)
  checks.expect_like("d_out", d_out, (*x.shape[:-3], *w.out, x.shape[-1]), x.dtype)
  padded = w.pad(x, -jnp.inf)
  best, first = None, 0
  for n, (i, j) in enumerate(w.elements()):
    seen = w.seen(padded, i, j)
    if best is not None:
      larger = ~(best >= seen)  # True for nan, as in XLA.
      seen, first = jnp.where(larger, seen, best), jnp.where(larger, n, first)
    best = seen
  return sum(
      w.unseen(jnp.where(first == n, d_out, 0), i, j) for n, (i, j) in enumerate(w.elements())
  )


def avg_pool_vjp(
    x,
    *,
    d_out,
    window,
    strides=None,
    padding="VALID",
    count_include_pad=True,
    ceil_mode=False,
    dilation=1,
):
  """The vector-Jacobian product of `dlx.layers.pooling.avg_pool`.

  d_y is distributed equally over the elements of a window; the values of x are not used.

  Args:
    x: `(..., H, W, C)`.
    d_out: d_y, `(..., H_out, W_out, C)`, in the dtype of x.
    window, strides, padding, count_include_pad, ceil_mode, dilation: as in the layer.

  Returns:
    d_x, in the shape and dtype of x.

  Raises:
    ValueError: d_out does not have the shape or the dtype of y, or an option is invalid.

  Source: the module's.
  """
  w = windows.pooled(x.shape[-3:-1], window, strides, padding, dilation, ceil_mode)
  checks.expect_like("d_out", d_out, (*x.shape[:-3], *w.out, x.shape[-1]), x.dtype)
  share = d_out.astype(jnp.promote_types(x.dtype, jnp.float32)) / w.count(count_include_pad)
  return sum(w.unseen(share, i, j) for i, j in w.elements()).astype(x.dtype)
