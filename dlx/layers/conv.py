"""Convolution of images, and its transpose."""

import functools
import math

import jax
from jax import lax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx import platform
from dlx.gradients import blocked_conv, varying, windows
from dlx.layers import shapes


def init(
    rng: jax.Array,
    window: int | tuple[int, int],
    c_in: int,
    c_out: int,
    *,
    groups: int = 1,
    bias: bool = True,
) -> dict[str, Array]:
  """Draws `kernel (h, w, C_in / groups, C_out)` and a zero `bias (C_out,)`.

  The kernel's variance is 1 / (h w C_in / groups), the reciprocal of the fan-in (LeCun).
  The parameters suit both `apply` and `transpose`.

  Args:
    rng: a typed key.
    window: the kernel size (h, w), an int or a pair.
    c_in, c_out: C_in and C_out.
    groups: divides both.
    bias: whether to add one.

  Raises:
    ValueError: window is not an int or a pair, or groups does not divide both channels.

  Source: LeCun, Bottou, Orr, Mueller, "Efficient BackProp" (1998), section 4.6.
  """
  if groups < 1 or c_in % groups or c_out % groups:
    raise ValueError(
        f"groups: expected a divisor of c_in = {c_in} and c_out = {c_out}, got {groups}"
    )
  shape = (*windows.pair("window", window), c_in // groups, c_out)
  params = {"kernel": initializers.lecun_normal()(rng, shape)}
  if bias:
    params["bias"] = jnp.zeros((c_out,))
  return params


def output_size(size, window, stride, padding, dilation=1):
  """The size of a convolution's output: floor((size + low + high - reach) / stride) + 1.

  reach = (window - 1) * dilation + 1 is the extent of the dilated kernel. "VALID" is
  low = high = 0, "SAME" the padding for which the result is ceil(size / stride).

  Args:
    size: of one dimension, or (H, W).
    window: the kernel size, an int or a pair.
    stride, dilation: an int or a pair.
    padding: "SAME", "VALID", ((low, high), (low, high)), or for one dimension
      (low, high).

  Returns:
    An int for an int, a pair for a pair.

  Raises:
    ValueError: an option is invalid, the kernel does not fit, or size is an int and the
      options give two different results.

  Source: Dumoulin, Visin, "A guide to convolution arithmetic for deep learning" (2016),
    section 2.4.
  """
  one = isinstance(size, int)
  if one and isinstance(padding, tuple) and all(isinstance(n, int) for n in padding):
    padding = (padding, padding)
  sizes = windows.pair("size", size)
  out = windows.over(sizes, window, stride, padding, dilation).out
  if one and out[0] != out[1]:
    raise ValueError(f"size: expected (H, W) with options that differ by dimension, got {size}")
  return out[0] if one else out


def _convolve(w, groups, x, kernel):
  """jax's convolution of (B, H, W, C_in)."""
  return lax.conv_general_dilated(
      x,
      kernel,
      window_strides=w.strides,
      padding=w.pads,
      rhs_dilation=w.dilation,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
  )


_convolve_with_custom_vjp = jax.custom_vjp(_convolve, nondiff_argnums=(0, 1))
_convolve_with_custom_vjp.defvjp(
    lambda w, groups, x, kernel: (_convolve(w, groups, x, kernel), (x, kernel)),
    lambda w, groups, saved, d_y: blocked_conv.vjp(*saved, d_y, w, groups),
)


def _expect_fit(params, x, groups):
  """Raises ValueError unless x and groups fit the kernel."""
  shapes.expect_rank("x", x, 3, "(..., H, W, C)")
  kernel = params["kernel"]
  if kernel.ndim != 4:
    raise ValueError(f"kernel: expected shape (h, w, c_in / groups, c_out), got {kernel.shape}")
  if groups < 1 or kernel.shape[-1] % groups:
    raise ValueError(f"groups: expected a divisor of c_out = {kernel.shape[-1]}, got {groups}")
  shapes.expect_last("x", x, kernel.shape[2] * groups)


def _images(convolution, params, x):
  """Applies a convolution of (B, H, W, C) to x (..., H, W, C), and adds the bias."""
  x, kernel = (v.astype(jnp.result_type(x, params["kernel"])) for v in (x, params["kernel"]))
  y = convolution(x.reshape(math.prod(x.shape[:-3]), *x.shape[-3:]), kernel)
  y = y.reshape(*x.shape[:-3], *y.shape[1:])
  return y + params["bias"] if "bias" in params else y


def apply(
    params: dict[str, Array],
    x: Float[Array, "... H W C_in"],
    *,
    strides: int | tuple[int, int] = 1,
    padding="SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    implementation: str = "auto",
) -> Float[Array, "... H_out W_out C_out"]:
  """Convolves an image with a kernel: y[u] = b + sum_i x[u s + i d - p] K[i].

  u and i are pairs (row, column), s is the stride, d the dilation and p the low padding;
  x is zero outside. The kernel is not flipped (in signal processing: cross-correlation).

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., H, W, C_in)`, any number of leading dimensions.
    strides: an int or a pair.
    padding: "SAME" (ceil(size / stride) outputs), "VALID" (no padding) or
      ((low, high), (low, high)).
    dilation: the spacing of kernel elements, an int or a pair.
    groups: the channels are split into groups, which are convolved independently.
    implementation: "auto" uses, on CPU, the gradient of dlx/gradients/blocked_conv.py,
      which is faster there but has no forward mode; on other platforms it is "autodiff",
      jax's.

  Returns:
    y, `(..., H_out, W_out, C_out)`, in the dtype that x and params promote to; see
    `output_size`.

  Raises:
    ValueError: the shape of x does not fit the kernel, an option is invalid, or the kernel
      does not fit into the image.

  Source: LeCun et al., "Gradient-based learning applied to document recognition"
    (1998), section II.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  shapes.expect_params(params, ("kernel",))
  (x,) = shapes.as_arrays(x)
  _expect_fit(params, x, groups)
  kernel = params["kernel"]
  w = windows.over(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  by_hand = implementation == "auto" and platform.choices()["conv"] == "hand-derived"
  convolve = _convolve_with_custom_vjp if by_hand else _convolve
  convolution = functools.partial(varying.call, convolve, static=(w, groups))
  return _images(convolution, params, x)


def transpose(
    params: dict[str, Array],
    x: Float[Array, "... H W C_in"],
    *,
    strides: int | tuple[int, int] = 1,
    padding="SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "... H_out W_out C_out"]:
  """Transposed convolution: y = b, then y[u s + i d - p] += x[u] K[i] for all u and i.

  This is the transpose of the linear map of `apply`: with the kernel's channels swapped,
  it is the gradient of `apply` with respect to its input. It upsamples by the strides.

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., H, W, C_in)`, any number of leading dimensions.
    strides: an int or a pair.
    padding: that of the convolution from y to x. The output size is size * stride for
      "SAME" and (size - 1) * stride + reach for "VALID", where
      reach = (window - 1) * dilation + 1; ((low, high), (low, high)) is subtracted from
      the latter.
    dilation: the spacing of kernel elements, an int or a pair.
    groups: as in `apply`.

  Returns:
    y, `(..., H_out, W_out, C_out)`, in the dtype that x and params promote to.

  Raises:
    ValueError: the shape of x does not fit the kernel, an option is invalid, or the output
      would be empty.

  Source: Zeiler et al., "Deconvolutional networks" (2010); Dumoulin, Visin (2016),
    section 4.
  """
  shapes.expect_params(params, ("kernel",))
  (x,) = shapes.as_arrays(x)
  _expect_fit(params, x, groups)
  kernel = params["kernel"]
  w = windows.transposed(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  stamp = functools.partial(blocked_conv.stamp, w=w, groups=groups)
  return _images(stamp, params, x)
