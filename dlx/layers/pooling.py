"""Max and average pooling of images."""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from dlx import platform
from dlx.gradients import pooling as gradients
from dlx.gradients import varying, windows
from dlx.layers import shapes


def _windows(x, window, strides, padding, dilation, ceil_mode):
  """The windows over x (..., H, W, C), after checking x."""
  shapes.expect_rank("x", x, 3, "(..., H, W, C)")
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"x: expected floating numbers, got {x.dtype}")
  return windows.pooled(x.shape[-3:-1], window, strides, padding, dilation, ceil_mode)


def _reduce(x: jax.Array, w: windows.Windows, start: float, operation):
  """Reduces the elements of each window, with `start` as padding, by an operation."""
  around = (1,) * (x.ndim - 3)
  return lax.reduce_window(
      x,
      np.asarray(start, x.dtype),  # Not a jax array: jax inspects its value.
      operation,
      (*around, *w.window, 1),
      (*around, *w.strides, 1),
      [(0, 0)] * (x.ndim - 3) + [*w.pads, (0, 0)],
      window_dilation=(*around, *w.dilation, 1),
  )


def _max_pool(w, x):
  return _reduce(x, w, -jnp.inf, lax.max)


def _max_pool_autodiff(w, x):
  if w.dilation != (1, 1):  # jax does not differentiate a dilated maximum.
    x, w = w.separated(w.pad(x, -jnp.inf))
  return _max_pool(w, x)


_max_pool_with_custom_vjp = jax.custom_vjp(_max_pool, nondiff_argnums=(0,))
_max_pool_with_custom_vjp.defvjp(
    lambda w, x: (_max_pool(w, x), x),
    lambda w, x, d_out: (
        gradients.max_pool_vjp(
            x,
            d_out=d_out,
            window=w.window,
            strides=w.strides,
            padding=w.pads,
            dilation=w.dilation,
        ),
    ),
)


def max_pool(
    x: Float[Array, "... H W C"],
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None = None,
    padding="VALID",
    *,
    ceil_mode: bool = False,
    dilation: int | tuple[int, int] = 1,
    implementation: str = "auto",
) -> Float[Array, "... H_out W_out C"]:
  """The maximum of each window: y[u] = max_i x[u s + i e - p], per channel.

  u and i are pairs (row, column), s is the stride, e the dilation and p the low padding, whose
  value is -inf. At ties the first maximum in row-major order receives the gradient.

  The output has floor((H + padding - reach) / s) + 1 rows, where reach = (h - 1) e + 1 for h
  rows of the window, and likewise columns. With ceil_mode floor is ceil, except that the last
  window has to start in the image or its low padding; what it lacks at the end is -inf.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; equal to the window if None, so that windows do not overlap.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (no padding) or
      ((low, high), (low, high)), each smaller than reach.
    ceil_mode: keep incomplete windows at the end, as PyTorch does; "SAME" has none.
    dilation: e, the spacing of the elements of a window, an int or a pair.
    implementation: "auto" uses, on CPU or with dilation, the gradient of
      dlx/gradients/pooling.py, which is faster there but has no forward mode; otherwise it is
      "autodiff", jax's, which copies the elements of every window if they are dilated.

  Returns:
    y, `(..., H_out, W_out, C)`, in the dtype of x; see `conv.output_size`.

  Raises:
    ValueError: x has too few dimensions or is not floating, an option is invalid, the
      window does not fit into the image, or a dilated one has only padding.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3; ceil_mode is
    PyTorch's.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  (x,) = shapes.as_arrays(x)
  w = _windows(x, window, strides, padding, dilation, ceil_mode)
  faster = platform.choices()["max_pool"] == "hand-derived" or w.dilation != (1, 1)
  by_hand = implementation == "auto" and faster
  rule = _max_pool_with_custom_vjp if by_hand else _max_pool_autodiff
  return varying.call(rule, x, static=(w,))


def avg_pool(
    x: Float[Array, "... H W C"],
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None = None,
    padding="VALID",
    *,
    count_include_pad: bool = True,
    ceil_mode: bool = False,
    dilation: int | tuple[int, int] = 1,
) -> Float[Array, "... H_out W_out C"]:
  """The mean of each window: y[u] = sum_i x[u s + i e - p] / n[u], per channel.

  u and i are pairs (row, column), s is the stride, e the dilation and p the low padding, whose
  value is 0. n[u] is the number of elements in a window, including padding (the default of
  PyTorch and Flax) or excluding it (as in TensorFlow). What a window of ceil_mode lacks beyond
  the padding never counts. Sums are accumulated in at least float32.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; equal to the window if None, so that windows do not overlap.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (no padding) or
      ((low, high), (low, high)), each smaller than the window's extent.
    count_include_pad: whether n[u] includes padding.
    ceil_mode, dilation: as in `max_pool`.

  Returns:
    y, `(..., H_out, W_out, C)`, in the dtype of x; see `conv.output_size`.

  Raises:
    ValueError: as in `max_pool`.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3; ceil_mode is
    PyTorch's.
  """
  (x,) = shapes.as_arrays(x)
  w = _windows(x, window, strides, padding, dilation, ceil_mode)
  total = _reduce(x.astype(jnp.promote_types(x.dtype, jnp.float32)), w, 0.0, lax.add)
  return (total / w.count(count_include_pad)).astype(x.dtype)
