"""Max and average pooling of images; pooling of sequences to one vector."""

import jax
from jax import lax
from jax.nn import initializers
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float
import numpy as np

from dlx import platform
from dlx.gradients import pooling as gradients
from dlx.gradients import varying, windows
from dlx.layers import linear, shapes


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


def pool(
    x: Float[Array, "... T D"], mask: Bool[Array, "... T"] | None = None, *, how: str = "mean"
) -> Float[Array, "... D"]:
  """One vector per sequence: the mean or maximum over valid steps, or the first or last of them.

  Args:
    x: `(..., T, D)`.
    mask: True at valid steps, which come first, at least one in each sequence; None if all are
      valid.
    how: "mean", "max", "first" or "last".

  Raises:
    ValueError: `how` has another value.
  """
  if how == "first":
    return x[..., 0, :]
  valid = jnp.ones(x.shape[:-1], bool) if mask is None else mask
  if how == "last":
    last = valid.sum(-1)[..., None, None] - 1
    return jnp.take_along_axis(x, last, -2)[..., 0, :]
  if how == "max":
    return jnp.where(valid[..., None], x, -jnp.inf).max(-2)
  if how != "mean":
    raise ValueError(f"how: expected mean, max, first or last, got {how!r}")
  total = jnp.where(valid[..., None], x, 0).sum(-2)
  return total / jnp.maximum(valid.sum(-1, keepdims=True), 1).astype(x.dtype)


def init_attention(rng: jax.Array, d: int, d_attention: int) -> dict:
  """Draws `key`, a linear layer (D, A), and `query (A,)`, for `attention_pool`."""
  key_rng, query_rng = jax.random.split(rng)
  query = initializers.normal(d_attention**-0.5)(query_rng, (d_attention,))
  return {"key": linear.init(key_rng, d, d_attention), "query": query}


def attention_weights(
    params: dict, x: Float[Array, "... T D"], mask: Bool[Array, "... T"] | None = None
) -> Float[Array, "... T"]:
  """The weights of the steps in `attention_pool`: a = softmax_t(q . tanh(W x_t + b)).

  Args:
    params: of `init_attention`.
    x: `(..., T, D)`.
    mask: True at valid steps, at least one in each sequence; None if all are valid.

  Returns:
    `(..., T)`; 0 at steps that are not valid, and the sum is 1. The softmax is computed in at
    least float32.

  Source: as for `attention_pool`.
  """
  if mask is not None:
    x = jnp.where(mask[..., None], x, 0)
  scores = jnp.tanh(linear.apply(params["key"], x)) @ params["query"]
  scores = scores.astype(jnp.promote_types(scores.dtype, jnp.float32))
  if mask is not None:
    scores = jnp.where(mask, scores, -jnp.inf)
  return jax.nn.softmax(scores, -1).astype(x.dtype)


def attention_pool(
    params: dict, x: Float[Array, "... T D"], mask: Bool[Array, "... T"] | None = None
) -> Float[Array, "... D"]:
  """A learned mean of a sequence: y = sum_t a_t x_t, with a as in `attention_weights`.

  Args:
    params: of `init_attention`.
    x: `(..., T, D)`.
    mask: True at valid steps, at least one in each sequence; None if all are valid.

  Returns:
    `(..., D)`, in the dtype of x.

  Source: Yang et al., "Hierarchical attention networks for document classification" (2016),
    equations 5 to 7.
  """
  weights = attention_weights(params, x, mask)
  if mask is not None:
    x = jnp.where(mask[..., None], x, 0)  # 0 times a value in the padding may be nan.
  return (weights[..., None] * x).sum(-2)
