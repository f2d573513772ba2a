"""Ceil mode and dilation of pooling: sizes, values and gradients by loops, as PyTorch documents."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.layers import pooling

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def output_size(size, window, stride, low, high, dilation, ceil_mode):
  """The formula in the documentation of torch.nn.MaxPool2d, for one dimension."""
  free = size + low + high - dilation * (window - 1) - 1
  out = (free + stride - 1) // stride + 1 if ceil_mode else free // stride + 1
  if ceil_mode and (out - 1) * stride >= size + low:
    out -= 1  # Sliding windows that would start in the right padded region are ignored.
  return out


def by_loops(x, window, strides, padding, dilation, ceil_mode):
  """(largest, mean with padding, mean inside, first places) of x (H, W), one window at a time."""
  out = [
      output_size(n, k, s, *pads, d, ceil_mode)
      for n, k, s, pads, d in zip(x.shape, window, strides, padding, dilation)
  ]
  largest, mean, mean_inside = np.zeros(out), np.zeros(out), np.zeros(out)
  first = {}
  for u, v in np.ndindex(*out):
    inside, counted = [], 0
    for i, j in np.ndindex(*window):
      row = u * strides[0] + i * dilation[0] - padding[0][0]
      column = v * strides[1] + j * dilation[1] - padding[1][0]
      if 0 <= row < x.shape[0] and 0 <= column < x.shape[1]:
        inside.append((x[row, column], (row, column)))
      if row < x.shape[0] + padding[0][1] and column < x.shape[1] + padding[1][1]:
        counted += 1
    values = [value for value, _ in inside]
    largest[u, v], first[u, v] = inside[np.argmax(values)]
    mean[u, v], mean_inside[u, v] = sum(values) / counted, np.mean(values)
  return largest, mean, mean_inside, first


CASES = [
    # size, window, strides, padding, dilation
    ((5, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((6, 7), (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1)),
    ((4, 8), (1, 2), (3, 3), ((0, 0), (1, 1)), (1, 1)),
    ((6, 4), (3, 2), (2, 3), ((0, 1), (1, 0)), (1, 2)),
    ((6, 7), (2, 3), (3, 2), ((2, 2), (1, 1)), (3, 1)),
]


@pytest.mark.full
@compiled
@pytest.mark.parametrize("ceil_mode", [False, True])
def test_sizes_values_and_gradients_are_those_of_loops(x64, compile_, ceil_mode):
  rng = np.random.default_rng(0)
  few = CASES if compile_ is jax.jit else CASES[3:]  # Eager, every operation is compiled.
  for size, window, strides, padding, dilation in few:
    x = rng.integers(-9, 0, size).astype(float)  # Below zero padding, with ties.
    largest, mean, mean_inside, first = by_loops(
        x, window, strides, padding, dilation, ceil_mode
    )
    options = {"window": window, "strides": strides, "padding": padding}
    options |= {"dilation": dilation, "ceil_mode": ceil_mode}
    d_y = rng.normal(size=largest.shape)
    d_x = np.zeros(size)
    for place, source in first.items():
      d_x[source] += d_y[place]

    def pool(x, d_y, options=options):
      both = {}
      for how in ("auto", "autodiff"):
        largest = functools.partial(pooling.max_pool, implementation=how, **options)
        y, vjp = jax.vjp(largest, x[..., None])
        both[how] = y, vjp(d_y[..., None])[0]
      means = [
          pooling.avg_pool(x[..., None], count_include_pad=count, **options)
          for count in (True, False)
      ]
      return both, means

    found, means = compile_(pool)(jnp.asarray(x), jnp.asarray(d_y))
    for y, slope in found.values():
      np.testing.assert_array_equal(y[..., 0], largest)
      np.testing.assert_allclose(slope[..., 0], d_x, atol=1e-14)
    np.testing.assert_allclose(means[0][..., 0], mean, rtol=1e-14)
    np.testing.assert_allclose(means[1][..., 0], mean_inside, rtol=1e-14)


def test_ceil_mode_keeps_the_incomplete_windows_at_the_end():
  x = jnp.arange(1.0, 26).reshape(5, 5, 1)
  y = pooling.max_pool(x, 2, ceil_mode=True)[..., 0]
  np.testing.assert_array_equal(y, [[7, 9, 10], [17, 19, 20], [22, 24, 25]])
  y = pooling.avg_pool(x, 2, ceil_mode=True)[..., 0]  # One, two or four elements: no padding.
  np.testing.assert_array_equal(y, [[4, 6, 7.5], [14, 16, 17.5], [21.5, 23.5, 25]])
  # A window that would start beyond the image, in its high padding, is left out.
  options = {"strides": 2, "padding": ((0, 1), (0, 1)), "ceil_mode": True}
  assert pooling.max_pool(jnp.ones((4, 4, 1)), 2, **options).shape == (2, 2, 1)
  # The padding that was asked for counts, what the window lacks beyond it does not.
  y = pooling.avg_pool(jnp.ones((1, 3, 1)), (1, 3), (1, 3), ((0, 0), (1, 0)), ceil_mode=True)
  np.testing.assert_allclose(y[0, :, 0], [2 / 3, 1])


def test_ceil_mode_allows_a_window_larger_than_the_image():
  x = jnp.array([[1.0, 4], [2, 3]])[..., None]
  assert pooling.max_pool(x, 3, ceil_mode=True).item() == 4
  assert pooling.avg_pool(x, 3, ceil_mode=True).item() == 2.5
  with pytest.raises(ValueError, match="window: expected one that fits into"):
    pooling.max_pool(x, 3, 1, ceil_mode=True)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("size", [1, 4, 5, 8])
def test_same_padding_has_no_incomplete_windows(size):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(size, size, 1)))
  for window, strides in itertools.product((1, 2, 3), (1, 2, 3)):
    for pool in (pooling.max_pool, pooling.avg_pool):
      floor = pool(x, window, strides, "SAME")
      np.testing.assert_array_equal(pool(x, window, strides, "SAME", ceil_mode=True), floor)


def test_dilation_skips_elements():
  x = jnp.array([[9.0, 1, 2, 8, 3, 4]])[..., None]
  y = pooling.max_pool(x, (1, 2), 1, dilation=(1, 3))
  np.testing.assert_array_equal(y[0, :, 0], [9, 3, 4])
  y = pooling.avg_pool(x, (1, 2), 1, dilation=(1, 3))
  np.testing.assert_array_equal(y[0, :, 0], [8.5, 2, 3])


def test_dilation_has_the_hand_derived_gradient_on_every_platform():
  pool = functools.partial(pooling.max_pool, window=2, strides=1, dilation=2)
  x = jnp.ones((1, 5, 5, 1))
  with platform.lowering_for("gpu"):
    text = str(jax.make_jaxpr(jax.grad(lambda x: pool(x).sum()))(x))
    assert "select_and_" not in text
    with pytest.raises(TypeError, match="no forward mode"):
      jax.jvp(pool, (x,), (x,))
  y, d_y = jax.jvp(functools.partial(pool, implementation="autodiff"), (x,), (3 * x,))
  np.testing.assert_array_equal(d_y, 3 * y)


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.avg_pool])
@pytest.mark.parametrize("options, message", [
    ({"dilation": 0}, "dilation: expected an int or a pair of ints, each at least 1, got 0"),
    (
        {"dilation": 4},
        "window: expected one that fits into (4, 1) with padding 'VALID', got (2, 2) with dilation "
        "(4, 4)",
    ),
    (
        {"dilation": 2, "padding": ((3, 0), (1, 1))},
        "padding: expected less than the window (3, 3), got ((3, 0), (1, 1))",
    ),
    (
        {"dilation": 2, "padding": "SAME", "strides": 1},
        "dilation: expected every window to have an element of the image (4, 1), got (2, 2) with "
        "window (2, 2) and padding 'SAME'",
    ),
])  # fmt: skip
def test_bad_options_are_named(pool, options, message):
  with pytest.raises(ValueError) as e:
    pool(jnp.zeros((4, 1, 1)), 2, **options)
  assert str(e.value) == message
