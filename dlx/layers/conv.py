"""Convolution over images, and its transpose."""

import functools
import math

import jax
from jax import lax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx import platform
from dlx.gradients import blocked_conv, windows
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
  """Draws `kernel (h, w, c_in / groups, c_out)` and a zero `bias (c_out,)`.

  The variance is 1 / (h w c_in / groups), one over the number of inputs that an output
  sees (LeCun). The same parameters serve `apply` and `transpose`.

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
  """How many windows fit: floor((size + low + high - reach) / stride) + 1.

  reach = (window - 1) * dilation + 1 is the extent of a window; without dilation the
  window itself. "VALID" is low = high = 0, "SAME" the padding that makes the result
  ceil(size / stride).

  Args:
    size: of one dimension, or (H, W).
    window, stride, dilation: an int or a pair.
    padding: "SAME", "VALID", ((low, high), (low, high)), or for one dimension
      (low, high).

  Returns:
    An int for an int, a pair for a pair.

  Raises:
    ValueError: an option is not one of these, no window fits, or the two dimensions
      of an int differ.

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
  """The convolution of (N, H, W, C_in), in jax's words."""
  return lax.conv_general_dilated(
      x,
      kernel,
      window_strides=w.strides,
      padding=w.pads,
      rhs_dilation=w.dilation,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
  )


_convolve_by_hand = jax.custom_vjp(_convolve, nondiff_argnums=(0, 1))
_convolve_by_hand.defvjp(
    lambda w, groups, x, kernel: (_convolve(w, groups, x, kernel), (x, kernel)),
    lambda w, groups, saved, d_y: blocked_conv.vjp(*saved, d_y, w, groups),
)


def _expect_fit(params, x, groups):
  """Checks x and groups against the kernel."""
  shapes.expect_rank("x", x, 3, "(..., H, W, C)")
  kernel = params["kernel"]
  if kernel.ndim != 4:
    raise ValueError(f"kernel: expected shape (h, w, c_in / groups, c_out), got {kernel.shape}")
  if groups < 1 or kernel.shape[-1] % groups:
    raise ValueError(f"groups: expected a divisor of c_out = {kernel.shape[-1]}, got {groups}")
  shapes.expect_last("x", x, kernel.shape[2] * groups)


def _images(convolution, params, x):
  """Applies to (N, H, W, C) what is given as (..., H, W, C), and adds the bias."""
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
) -> Float[Array, "... U V C_out"]:
  """Slides a linear map over the image: y[u] = b + sum_i x[u s + i d - p] K[i].

  u and i are pairs (row, column), s is the stride, d the dilation and p the padding in
  front; x is zero outside. The kernel is not turned around (this is what the field
  calls convolution and signal processing correlation).

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., H, W, C_in)`, any number of leading dimensions.
    strides: an int or a pair.
    padding: "SAME" (ceil(size / stride) outputs), "VALID" (windows inside the image
      only) or ((low, high), (low, high)).
    dilation: the distance of neighbours in a window, an int or a pair.
    groups: output channels of part g see input channels of part g alone.
    implementation: "auto" takes, on CPU, the gradient of dlx/gradients/blocked_conv.py,
      which is faster but has no forward mode; elsewhere it is "autodiff", which lets
      jax differentiate.

  Returns:
    y, `(..., U, V, C_out)`, in the dtype that x and params promote to; `output_size`
    tells U and V.

  Raises:
    ValueError: the shape of x does not fit the kernel, an option is not one of these,
      or no window fits into the image.

  Source: LeCun et al., "Gradient-based learning applied to document recognition"
    (1998), section II.
  """
  shapes.expect_implementation(implementation, ("auto", "autodiff"))
  _expect_fit(params, x, groups)
  kernel = params["kernel"]
  w = windows.over(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  by_hand = implementation == "auto" and platform.choices()["conv"] == "hand-derived"
  convolve = _convolve_by_hand if by_hand else _convolve
  return _images(functools.partial(convolve, w, groups), params, x)


def transpose(
    params: dict[str, Array],
    x: Float[Array, "... U V C_in"],
    *,
    strides: int | tuple[int, int] = 1,
    padding="SAME",
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Float[Array, "... H W C_out"]:
  """Stamps the kernel onto the output: y = b, then y[u s + i d - p] += x[u] K[i].

  This is the transpose of the linear map of `apply`: with the channels of the kernel
  exchanged it is the gradient of `apply` with respect to its input. It enlarges an
  image by the strides.

  Args:
    params: `kernel (h, w, C_in / groups, C_out)` and, optionally, `bias (C_out,)`.
    x: `(..., U, V, C_in)`, any number of leading dimensions.
    strides: from one stamp to the next, an int or a pair.
    padding: that of the convolution from the output to x. "SAME" makes the output
      size * stride, "VALID" all that is stamped, (size - 1) * stride + reach, where
      reach = (window - 1) * dilation + 1; ((low, high), (low, high)) cuts so much
      from that.
    dilation: the distance of neighbours in a stamp, an int or a pair.
    groups: output channels of part g get input channels of part g alone.

  Returns:
    y, `(..., H, W, C_out)`, in the dtype that x and params promote to.

  Raises:
    ValueError: the shape of x does not fit the kernel, an option is not one of these,
      or nothing is left of the output.

  Source: Zeiler et al., "Deconvolutional networks" (2010); Dumoulin, Visin (2016),
    section 4.
  """
  _expect_fit(params, x, groups)
  kernel = params["kernel"]
  w = windows.transposed(x.shape[-3:-1], kernel.shape[:2], strides, padding, dilation)
  stamp = functools.partial(blocked_conv.stamp, w=w, groups=groups)
  return _images(stamp, params, x)
