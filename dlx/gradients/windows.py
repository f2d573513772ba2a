"""Sliding windows: the geometry shared by convolution and pooling.

In one dimension, element i of window u reads the input at index

  u * stride + i * dilation - low,    0 <= u < out,  0 <= i < window

which is padding below 0 and beyond the end. Images have two such dimensions, rows and
columns, before the channels: (..., H, W, C).
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np

ROWS, COLUMNS = 0, 1  # The two dimensions of an image (..., H, W, C).
Pair = tuple[int, int]


class Windows(NamedTuple):
  """The windows over an image; every attribute is a pair (rows, columns).

  Attributes:
    size: of the image, (H, W).
    window: the number of elements of a window, (h, w).
    strides: the spacing of windows.
    dilation: the spacing of elements in a window.
    pads: ((low, high), (low, high)); negative numbers crop the image.
    extra: the part of the high pads that only completes the last windows (ceil mode).
  """

  size: Pair
  window: Pair
  strides: Pair
  dilation: Pair
  pads: tuple[Pair, Pair]
  extra: Pair = (0, 0)

  @property
  def out(self) -> Pair:
    """The number of windows, (H_out, W_out)."""
    return tuple(
        (size + sum(pads) - reach) // stride + 1
        for size, pads, reach, stride in zip(self.size, self.pads, self.reach, self.strides)
    )

  @property
  def reach(self) -> Pair:
    """The extent of a window, from its first to its last element."""
    return tuple((n - 1) * d + 1 for n, d in zip(self.window, self.dilation))

  def completed(self) -> "Windows":
    """Ceil mode: with the windows that start in the image or its low padding and end beyond.

    The high padding grows by `extra`, so that they fit.
    """
    extra = []
    for size, pads, reach, stride in zip(self.size, self.pads, self.reach, self.strides):
      last = -((reach - size - sum(pads)) // stride) * stride  # The start of the last window.
      if last >= size + pads[0]:
        last -= stride
      extra.append(max(last + reach - size - sum(pads), 0))
    pads = tuple((low, high + more) for (low, high), more in zip(self.pads, extra))
    return self._replace(pads=pads, extra=tuple(extra))

  def positions(self, dim: int) -> np.ndarray:
    """Where element i of window u is, along ROWS or COLUMNS of the padded image: (out, window)."""
    starts = self.strides[dim] * np.arange(self.out[dim])
    return starts[:, None] + self.dilation[dim] * np.arange(self.window[dim])

  def elements(self) -> Iterator[Pair]:
    """(i, j) of all elements of a window in row-major order."""
    return np.ndindex(*self.window)

  def pad(self, x: jax.Array, value: float = 0.0) -> jax.Array:
    """x (..., H, W, C), padded."""
    edges = [(0, 0, 0)] * (x.ndim - 3) + [(*pads, 0) for pads in self.pads] + [(0, 0, 0)]
    return lax.pad(x, jnp.asarray(value, x.dtype), edges)

  def look(self, padded: jax.Array, i: int, dim: int) -> jax.Array:
    """Element i of every window along ROWS or COLUMNS of the padded image."""
    first, stride = i * self.dilation[dim], self.strides[dim]
    stop = first + (self.out[dim] - 1) * stride + 1
    return lax.slice_in_dim(padded, first, stop, stride, axis=padded.ndim - 3 + dim)

  def put(self, values: jax.Array, i: int, dim: int) -> jax.Array:
    """The transpose of padding and `look`: values where they were read, zeros elsewhere."""
    low = i * self.dilation[dim] - self.pads[dim][0]
    high = self.size[dim] - low - ((self.out[dim] - 1) * self.strides[dim] + 1)
    edges = [(0, 0, 0)] * values.ndim
    edges[values.ndim - 3 + dim] = (low, high, self.strides[dim] - 1)
    return lax.pad(values, jnp.zeros((), values.dtype), edges)

  def seen(self, padded: jax.Array, i: int, j: int) -> jax.Array:
    """Element (i, j) of every window of the padded image: (..., H_out, W_out, C)."""
    return self.look(self.look(padded, i, ROWS), j, COLUMNS)

  def unseen(self, values: jax.Array, i: int, j: int) -> jax.Array:
    """The transpose of padding and `seen`: (..., H_out, W_out, C) to (..., H, W, C)."""
    return self.put(self.put(values, i, ROWS), j, COLUMNS)

  def inside(self) -> jax.Array:
    """The number of elements of each window inside the image: (H_out, W_out, 1)."""
    padded = self.pad(jnp.ones((*self.size, 1), jnp.float32))
    return sum(self.seen(padded, i, j) for i, j in self.elements())

  def count(self, include_pad: bool) -> int | jax.Array:
    """The number of elements of a window; each one's, (H_out, W_out, 1), where they differ.

    Elements in `extra` do not count, those in other padding with include_pad only.
    """
    if not include_pad:
      return self.inside()
    if self.extra == (0, 0):
      return self.window[0] * self.window[1]
    size = tuple(
        n + sum(pads) - more for n, pads, more in zip(self.size, self.pads, self.extra)
    )
    return self._replace(size=size, pads=tuple((0, more) for more in self.extra)).inside()

  def separated(self, padded: jax.Array) -> tuple[jax.Array, "Windows"]:
    """An image in which the windows of the padded one are side by side, and its windows."""
    apart = padded.take(self.positions(ROWS).ravel(), axis=-3)
    apart = apart.take(self.positions(COLUMNS).ravel(), axis=-2)
    return apart, over(apart.shape[-3:-1], self.window, self.window, "VALID")


def pair(name: str, value: int | Pair, least: int = 1) -> Pair:
  """An int for both dimensions, or a pair.

  Raises:
    ValueError: it is neither, or below `least`.
  """
  both = (value, value) if isinstance(value, (int, np.integer)) else value
  if (
      not isinstance(both, (tuple, list))
      or len(both) != 2
      or not all(isinstance(n, (int, np.integer)) and n >= least for n in both)
  ):
    raise ValueError(f"{name}: expected an int or a pair of ints, each at least {least}, "
                     f"got {value!r}")
  return int(both[0]), int(both[1])


def explicit(padding) -> tuple[Pair, Pair] | None:
  """A padding as pairs of (low, high); None for "SAME" and "VALID".

  Raises:
    ValueError: it has another form.
  """
  if isinstance(padding, str) and padding in ("SAME", "VALID"):
    return None
  try:
    rows, columns = padding
    return pair("padding", rows, 0), pair("padding", columns, 0)
  except (TypeError, ValueError):
    raise ValueError(
        f'padding: expected "SAME", "VALID" or ((low, high), (low, high)) of ints that are '
        f"at least 0, got {padding!r}"
    ) from None


def over(size, window, strides, padding, dilation=1, ceil_mode=False) -> Windows:
  """The windows over an image of size (H, W).

  "VALID" does not pad. "SAME" pads to ceil(size / stride) windows, equally on both sides,
  with an odd row or column at the end.

  Args:
    size: (H, W).
    window, strides, dilation: an int or a pair.
    padding: "SAME", "VALID" or ((low, high), (low, high)).
    ceil_mode: see `Windows.completed`.

  Raises:
    ValueError: an option is invalid, or no window fits.
  """
  window, strides = pair("window", window), pair("strides", strides)
  dilation = pair("dilation", dilation)
  pads = explicit(padding)
  reach = tuple((n - 1) * d + 1 for n, d in zip(window, dilation))
  if pads is None:
    pads = ((0, 0), (0, 0))
  if padding == "SAME":
    missing = [
        max((-(-n // stride) - 1) * stride + r - n, 0)
        for n, stride, r in zip(size, strides, reach)
    ]
    pads = tuple((total // 2, total - total // 2) for total in missing)
  windows = Windows(tuple(size), window, strides, dilation, pads)
  if ceil_mode:
    windows = windows.completed()
  if min(windows.out) < 1:
    raise ValueError(
        f"window: expected one that fits into {tuple(size)} with padding {padding!r}, got "
        f"{window}" + (f" with dilation {dilation}" if dilation != (1, 1) else "")
    )
  return windows


def transposed(size, window, strides, padding, dilation=1) -> Windows:
  """The windows over the output of a transposed convolution of an input of a size (H, W).

  There is one window per position of the input. The output size is size * stride for
  "SAME" and (size - 1) * stride + reach for "VALID", the smallest that contains all
  windows; pairs of (low, high) are subtracted from the latter.

  Raises:
    ValueError: as for `over`, or the output is empty.
  """
  strides, reach = pair("strides", strides), over((1, 1), window, 1, "SAME", dilation).reach
  if padding == "SAME":
    whole = tuple(n * stride for n, stride in zip(size, strides))
  else:
    pads = explicit(padding) or ((0, 0), (0, 0))
    whole = tuple(
        (n - 1) * stride + r - sum(cut) for n, stride, r, cut in zip(size, strides, reach, pads)
    )
  if min(whole) < 1:
    raise ValueError(f"padding: expected to cut less than the whole output, got {padding!r}")
  return over(whole, window, strides, padding, dilation)


def pooled(size, window, strides, padding, dilation=1, ceil_mode=False) -> Windows:
  """The windows of a pooling; strides are the window's size if None.

  Raises:
    ValueError: as for `over`, padding is not smaller than the window's extent, or a dilated
      window has only padding.
  """
  strides = window if strides is None else strides
  windows = over(size, window, strides, padding, dilation, ceil_mode)
  for (low, high), more, reach in zip(windows.pads, windows.extra, windows.reach):
    if max(low, high - more) >= reach:
      raise ValueError(f"padding: expected less than the window {windows.reach}, got {padding!r}")
  for dim, (n, (low, _)) in enumerate(zip(size, windows.pads)):
    indices = windows.positions(dim) - low
    if not ((0 <= indices) & (indices < n)).any(-1).all():
      raise ValueError(
          f"dilation: expected every window to have an element of the image {tuple(size)}, got "
          f"{windows.dilation} with window {windows.window} and padding {padding!r}"
      )
  return windows
