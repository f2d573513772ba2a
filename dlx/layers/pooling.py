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


def _windows(x, window, strides, padding):
  """The windows over x (..., H, W, C), after checking x."""
  shapes.expect_rank("x", x, 3, "(..., H, W, C)")
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f"x: expected floating numbers, got {x.dtype}")
  return windows.pooled(x.shape[-3:-1], window, strides, padding)


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
  )


def _max_pool(w, x):
  return _reduce(x, w, -jnp.inf, lax.max)


_max_pool_with_custom_vjp = jax.custom_vjp(_max_pool, nondiff_argnums=(0,))
_max_pool_with_custom_vjp.defvjp(
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
) -> Float[Array, "... H_out W_out C"]:
  """The maximum of each window: y[u] = max_i x[u s + i - p], per channel.

  u and i are pairs (row, column), s is the stride and p the low padding, whose value is
  -inf. At ties the first maximum in row-major order receives the gradient.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; equal to the window if None, so that windows do not overlap.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (no padding) or
      ((low, high), (low, high)), each smaller than the window.
    implementation: "auto" uses, on CPU, the gradient of dlx/gradients/pooling.py, which
      is faster there but has no forward mode; on other platforms it is "autodiff", jax's.

  Returns:
    y, `(..., H_out, W_out, C)`, in the dtype of x; see `conv.output_size`.

  Raises:
    ValueError: x has too few dimensions or is not floating, an option is invalid, or the
      window does not fit into the image.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  (x,) = shapes.as_arrays(x)
  w = _windows(x, window, strides, padding)
  by_hand = implementation == "auto" and platform.choices()["max_pool"] == "hand-derived"
  return varying.call(_max_pool_with_custom_vjp if by_hand else _max_pool, x, static=(w,))


def avg_pool(
    x: Float[Array, "... H W C"],
    window: int | tuple[int, int],
    strides: int | tuple[int, int] | None = None,
    padding="VALID",
    *,
    count_include_pad: bool = True,
) -> Float[Array, "... H_out W_out C"]:
  """The mean of each window: y[u] = sum_i x[u s + i - p] / n[u], per channel.

  u and i are pairs (row, column), s is the stride and p the low padding, whose value is 0.
  n[u] is the number of elements in a window, including padding (the default of PyTorch and
  Flax) or excluding it (as in TensorFlow). Sums are accumulated in at least float32.

  Args:
    x: `(..., H, W, C)`, any number of leading dimensions.
    window: an int or a pair.
    strides: an int or a pair; equal to the window if None, so that windows do not overlap.
    padding: "SAME" (ceil(size / stride) windows), "VALID" (no padding) or
      ((low, high), (low, high)), each smaller than the window.
    count_include_pad: whether n[u] includes padding.

  Returns:
    y, `(..., H_out, W_out, C)`, in the dtype of x; see `conv.output_size`.

  Raises:
    ValueError: x has too few dimensions or is not floating, an option is invalid, or the
      window does not fit into the image.

  Source: Goodfellow, Bengio, Courville, "Deep Learning" (2016), section 9.3.
  """
  (x,) = shapes.as_arrays(x)
  w = _windows(x, window, strides, padding)
  total = _reduce(x.astype(jnp.promote_types(x.dtype, jnp.float32)), w, 0.0, lax.add)
  count = w.window[0] * w.window[1] if count_include_pad else w.inside()
  return (total / count).astype(x.dtype)
