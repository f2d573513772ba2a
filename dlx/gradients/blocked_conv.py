"""The gradient of convolution, computed in blocks, which is faster on CPU.

dlx/gradients/conv.py has the derivation.

d_x is one convolution of d_y, dilated by the strides, with the flipped kernel. XLA runs it
as fast as a forward convolution, also inside a loop.

d_K is a sum of products x^T d_y over positions, one per kernel element. Copies of x shifted
to each element, concatenated as channels (positions x h w C_in), make it one product
(im2col). With column stride 1 there is an alternative: x is copied only for the h rows of
the kernel (positions x h C_in), and d_y is shifted along the columns (positions x w C_out).
The smaller copies are used: for C_in = C_out = C and a 3 x 3 kernel, 3 C + 3 C numbers per
position instead of 9 C + C.

Copies are made for a few images at a time, so that they stay in cache, in a loop that
accumulates the products. The batch is first split into lanes, each with its own sum, and
a block has images from every lane. When the batch is sharded over devices, a lane is on
one device: no image is communicated, only the lanes' sums after the loop. On a single
device, two lanes are faster than one as well: the sums of a small kernel then use two
cores.
"""

import functools
import math

import jax
from jax import lax
import jax.numpy as jnp

from dlx.gradients.windows import COLUMNS, ROWS

BLOCK_BYTES = 6 * 2**20  # Size of the copies of one block.


def stamp(x, kernel, w, groups):
  """The transposed convolution, y[u s + i d - p] += x[u] K[i], as a convolution.

  x, dilated by the strides, is convolved with the flipped kernel.

  Args:
    x: `(B, H, W, C_in)`.
    kernel: `(h, w, C_in / groups, C_out)`.
    w: the windows over y, one per position of x.
    groups: the number of groups of channels.

  Returns:
    y, `(B, H_out, W_out, C_out)`.
  """
  low = [reach - 1 - pads[0] for reach, pads in zip(w.reach, w.pads)]
  end = [
      size + pads[0] - (out - 1) * stride - 1
      for size, pads, out, stride in zip(w.size, w.pads, w.out, w.strides)
  ]
  # Cropping is done on the result: with negative padding XLA's CPU code reads wrong rows
  # (jax 0.10.1: x (1, 2, 3, 10), kernel (1, 1, 1, 20), 10 groups, padding (-1, 0), (0, 0)).
  y = lax.conv_general_dilated(
      x,
      kernel[::-1, ::-1],
      window_strides=(1, 1),
      padding=[(max(a, 0), max(b, 0)) for a, b in zip(low, end)],
      lhs_dilation=w.strides,
      rhs_dilation=w.dilation,
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
  )
  first = [max(-a, 0) for a in low]
  return y[:, first[0] : first[0] + w.size[0], first[1] : first[1] + w.size[1]]


def _input_vjp(kernel, d_y, w, groups):
  """d_x (B, H, W, C_in), the transposed convolution of d_y with swapped channels."""
  height, width, c, k = kernel.shape
  exchanged = kernel.reshape(height, width, c, groups, k // groups).swapaxes(2, 4)
  return stamp(d_y, exchanged.reshape(height, width, k // groups, groups * c), w, groups)


def _plan(c, k, w):
  """(whether to shift d_y along the columns, the numbers copied per row of the output)."""
  height, width = w.window
  by_element = w.out[1] * (height * width * c + k)
  by_row = w.size[1] * (height * c + width * k)
  moved = w.strides[1] == 1 and by_row < by_element
  return moved, by_row if moved else by_element


def _products(x, d_y, w, groups, moved):
  """The sums x^T d_y over the images of each lane.

  Args:
    x: `(lanes, images, H, W, C_in)`.
    d_y: `(lanes, images, H_out, W_out, C_out)`.
    w: the windows over an image.
    groups: the number of groups of channels.
    moved: whether to shift d_y along the columns.

  Returns:
    `(lanes groups, a C_in / groups, b C_out / groups)` in at least float32, with (a, b)
    the kernel size (h, w) if d_y is shifted, else (h w, 1).
  """
  if moved:
    padded = w._replace(pads=(w.pads[0], (0, 0))).pad(x)
    left = [w.look(padded, i, ROWS) for i in range(w.window[0])]
    right = [w.put(d_y, j, COLUMNS) for j in range(w.window[1])]
  else:
    padded = w.pad(x)
    left, right = [w.seen(padded, i, j) for i, j in w.elements()], [d_y]

  def side_by_side(copies):
    lanes, *places, channels = copies[0].shape
    shape = (lanes, math.prod(places), len(copies), groups, channels // groups)
    grouped = jnp.moveaxis(jnp.concatenate(copies, axis=-1).reshape(shape), 3, 1)
    return grouped.reshape(lanes * groups, shape[1], len(copies) * shape[-1])

  return jnp.einsum(
      "zpi,zpo->zio",
      side_by_side(left),
      side_by_side(right),
      preferred_element_type=jnp.promote_types(x.dtype, jnp.float32),
  )


def _strips(x, d_y, w, rows):
  """Splits the images of each lane into strips of output rows, treated as smaller images.

  Adjacent strips share input rows. The last one is padded with zeros.

  Returns:
    (x, d_y, w), with w the windows over a strip.
  """
  count = -(-w.out[0] // rows)
  step, size = rows * w.strides[0], (rows - 1) * w.strides[0] + w.reach[0]
  low, high = w.pads[0][0], (count - 1) * step + size - w.size[0] - w.pads[0][0]
  whole = w._replace(pads=((low, high), (0, 0)))
  padded = whole.pad(x)
  starts = [i * step for i in range(count)]
  x = jnp.stack([lax.slice_in_dim(padded, i, i + size, axis=2) for i in starts], axis=2)
  edges = [(0, 0)] * d_y.ndim
  edges[2] = (0, count * rows - w.out[0])
  d_y = jnp.pad(d_y, edges).reshape(*d_y.shape[:2], count, rows, *d_y.shape[3:])
  x, d_y = (v.reshape(v.shape[0], v.shape[1] * count, *v.shape[3:]) for v in (x, d_y))
  return x, d_y, w._replace(size=(size, w.size[1]), pads=((0, 0), w.pads[1]))


def _kernel_vjp(x, d_y, w, groups):
  """d_K (h, w, C_in / groups, C_out) of x (B, H, W, C_in), d_y (B, H_out, W_out, C_out)."""
  n, c, k = x.shape[0], x.shape[-1], d_y.shape[-1]
  moved, numbers = _plan(c, k, w)
  lanes = math.gcd(n, max(2, jax.device_count()))
  x, d_y = (v.reshape(lanes, n // lanes, *v.shape[1:]) for v in (x, d_y))
  rows = max(1, BLOCK_BYTES // (lanes * numbers * x.dtype.itemsize))  # Per lane in a block.
  if rows < w.out[0]:
    x, d_y, w = _strips(x, d_y, w, rows)
  images = max(1, min(x.shape[1], rows // w.out[0]))
  blocks = x.shape[1] // images
  products = functools.partial(_products, w=w, groups=groups, moved=moved)

  def add(total, start):
    block = (lax.dynamic_slice_in_dim(v, start, images, axis=1) for v in (x, d_y))
    return total + products(*block), None

  rest = blocks * images  # Where the remainder, smaller than a block, starts.
  total = products(x[:, rest:], d_y[:, rest:])
  if blocks:
    total, _ = lax.scan(add, total, jnp.arange(blocks) * images)
  along_y = w.window[1] if moved else 1
  shape = (lanes, groups, -1, c // groups, along_y, k // groups)
  by_element = total.reshape(shape).sum(0).transpose(1, 3, 2, 0, 4)
  return by_element.reshape(*w.window, c // groups, k)


def vjp(x, kernel, d_y, w, groups):
  """(d_x, d_kernel) of the convolution of images with a kernel of the same dtype.

  Args:
    x: `(B, H, W, C_in)`.
    kernel: `(h, w, C_in / groups, C_out)`.
    d_y: `(B, H_out, W_out, C_out)`.
    w: the windows over an image.
    groups: the number of groups of channels.
  """
  return _input_vjp(kernel, d_y, w, groups), _kernel_vjp(x, d_y, w, groups).astype(kernel.dtype)
