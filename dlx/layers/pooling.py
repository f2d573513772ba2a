"""Max and average pooling over windows of an image."""

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from dlx import platform
from dlx.gradients import pooling as gradients
from dlx.gradients import windows
from dlx.layers import shapes


def _windows(x, window, strides, padding):
  """The windows over x (..., H, W, C), which is checked."""
  shapes.expect_rank("x", x, 3, "(..., H, W, C)")
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"x: expected floating numbers, got {x.dtype}")
  return windows.pooled(x.shape[-3:-1], window, strides, padding)


def _reduce(x: jax.Array, w: windows.Windows, start: float, operation):
  """Combines the elements of each window, and `start` for padding, by an operation."""
  around = (1,) * (x.ndim - 3)
  return lax.reduce_window(
      x,
      np.asarray(start, x.dtype),  # Not a jax array: jax looks at its value.
      operation,
      (*around, *w.window, 1),
      (*around, *w.strides, 1),
      [(0, 0)] * (x.ndim - 3) + [*w.pads, (0, 0)],
  )


def _max_pool(w, x):
  return _reduce(x, w, -jnp.inf, lax.max)


_max_pool_by_hand = jax.custom_vjp(_max_pool, nondiff_argnums=(0,))
_max_pool_by_hand.defvjp(
    lambda w, x: (_max_pool(w, x), x),
    lambda w, x, d_out: (
        gradients.max_pool_vjp(
            x, d_out=d_out, window=w.window, strides=w.strides, padding=w.pads
        ),
    ),
)


def max_pool(
    x: Float[Array, "... H W C"],
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None = None,
    padding="VALID",
    *,
    implementation: str = "auto",
) -> Float[Array, "... U V C"]:
  """The largest element of each window: y[u] = max_i x[u s + i - p], channel by channel.

  u and i are pairs (row, column), s is the stride and p the padding in front. Padding
  is -inf and never the largest. At ties the first of the largest elements, row by row,
  gets the gradient.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; the window's size when None, so that windows lie side by
      side. They overlap where strides are smaller.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (windows inside the image
      only) or ((low, high), (low, high)), each less than the window.
    implementation: "auto" takes, on CPU, the gradient of dlx/gradients/pooling.py, which
      is faster but has no forward mode; elsewhere it is "autodiff", which lets jax
      differentiate.

  Returns:
    y, `(..., U, V, C)`, in the dtype of x; `conv.output_size` tells U and V.

  Raises:
    ValueError: x has too few dimensions or is not floating, an option is not one of
      these, or no window fits into the image.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  w = _windows(x, window, strides, padding)
  by_hand = implementation == "auto" and platform.choices()["max_pool"] == "hand-derived"
  return (_max_pool_by_hand if by_hand else _max_pool)(w, x)


def avg_pool(
    x: Float[Array, "... H W C"],
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None = None,
    padding="VALID",
    *,
    count_include_pad: bool = True,
) -> Float[Array, "... U V C"]:
  """The mean of each window: y[u] = sum_i x[u s + i - p] / n[u], channel by channel.

  u and i are pairs (row, column), s is the stride and p the padding in front; x is zero
  outside. n[u] is the number of elements of a window, with those in the padding
  (PyTorch's and Flax's default) or without them (TensorFlow's way). Sums are taken in
  at least float32.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; the window's size when None, so that windows lie side by
      side. They overlap where strides are smaller.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (windows inside the image
      only) or ((low, high), (low, high)), each less than the window.
    count_include_pad: whether padding counts.

  Returns:
    y, `(..., U, V, C)`, in the dtype of x; `conv.output_size` tells U and V.

  Raises:
    ValueError: x has too few dimensions or is not floating, an option is not one of
      these, or no window fits into the image.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3.
  """
  w = _windows(x, window, strides, padding)
  total = _reduce(x.astype(jnp.promote_types(x.dtype, jnp.float32)), w, 0.0, lax.add)
  count = w.window[0] * w.window[1] if count_include_pad else w.inside()
  return (total / count).astype(x.dtype)
