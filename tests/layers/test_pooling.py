"""Max and average pooling: values, padding, overlap, dtypes, errors."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import conv, pooling

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def seen(x, window, strides, low, out):
  """For each window (u, v), the pixels of x (H, W, C) inside the image."""
  for u, v in np.ndindex(*out):
    rows = [u * strides[0] + i - low[0] for i in range(window[0])]
    columns = [v * strides[1] + j - low[1] for j in range(window[1])]
    inside = [
        x[i, j] for i in rows for j in columns if 0 <= i < x.shape[0] and 0 <= j < x.shape[1]
    ]
    yield (u, v), np.stack(inside)


# (size, window, strides, padding, arguments of the reference: size of y, strides, padding)
CASES = {
    "side_by_side": ((5, 4), (2, 2), None, "VALID", ((2, 2), (2, 2), (0, 0))),
    "overlapping": ((5, 4), (3, 2), (2, 1), "VALID", ((2, 3), (2, 1), (0, 0))),
    "same": ((5, 4), (3, 3), 2, "SAME", ((3, 2), (2, 2), (1, 0))),
    "padded": ((2, 3), (3, 2), 1, ((1, 2), (1, 0)), ((3, 3), (1, 1), (1, 1))),
    "gaps": ((5, 5), (1, 2), 3, "VALID", ((2, 2), (3, 3), (0, 0))),
}


@pytest.mark.sampled(2)
@compiled
@pytest.mark.parametrize("case", CASES)
def test_every_output_is_the_maximum_or_mean_of_its_window(x64, case, compile_):
  size, window, strides, padding, (out, steps, low) = CASES[case]
  x = np.random.default_rng(0).normal(size=(*size, 2)) - 3  # Below zero padding.

  def pool(x):
    arguments = x, window, strides, padding
    return (
        pooling.max_pool(*arguments),
        pooling.avg_pool(*arguments),
        pooling.avg_pool(*arguments, count_include_pad=False),
    )

  largest, mean, mean_inside = (np.asarray(y) for y in compile_(pool)(jnp.asarray(x)))
  assert largest.shape == mean.shape == (*out, 2)
  assert out == conv.output_size(size, window, strides or window, padding)
  for place, values in seen(x, window, steps, low, out):
    np.testing.assert_array_equal(largest[place], values.max(0))
    np.testing.assert_allclose(mean[place], values.sum(0) / np.prod(window), rtol=1e-12)
    np.testing.assert_allclose(mean_inside[place], values.mean(0), rtol=1e-12)


@pytest.mark.parametrize("padding", ["SAME", ((1, 1), (0, 1))])
def test_values_match_flax(x64, padding):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 3)))
  arguments = (3, 2), (2, 1), padding
  np.testing.assert_array_equal(pooling.max_pool(x, *arguments), nn.max_pool(x, *arguments))
  for count in (True, False):
    np.testing.assert_allclose(
        pooling.avg_pool(x, *arguments, count_include_pad=count),
        nn.avg_pool(x, *arguments, count_include_pad=count),
        rtol=1e-12,
    )


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.avg_pool])
def test_leading_dimensions_are_a_batch(x64, pool):
  x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 3, 4, 5, 2)))
  y = pool(x, 2)
  assert y.shape == (2, 3, 2, 2, 2)
  np.testing.assert_allclose(jax.vmap(jax.vmap(lambda x: pool(x, 2)))(x), y, rtol=1e-12)
  np.testing.assert_allclose(pool(x[1, 2], 2), y[1, 2], rtol=1e-12)


def test_max_pool_of_windows_of_minus_infinity_is_minus_infinity():
  x = jnp.full((2, 2, 1), -jnp.inf)
  np.testing.assert_array_equal(pooling.max_pool(x, 2, 1, "SAME"), x)


def test_bfloat16_stays_bfloat16_and_sums_in_float32():
  x = jnp.ones((16, 32, 1), jnp.bfloat16)
  y = pooling.avg_pool(x, (16, 32))
  assert y.dtype == pooling.max_pool(x, 2).dtype == jnp.bfloat16
  assert y == 1  # 256 + 1 is 256 in bfloat16.


BAD = {
    "x: expected shape (..., H, W, C), got (4, 2)": {"x": jnp.zeros((4, 2))},
    "x: expected floating numbers, got uint8": {"x": jnp.zeros((4, 4, 1), jnp.uint8)},
    "window: expected an int or a pair of ints, each at least 1, got 0": {"window": 0},
    "window: expected one that fits into (4, 4) with padding 'VALID', got (5, 5)": {"window": 5},
    "strides: expected an int or a pair of ints, each at least 1, got -1": {"strides": -1},
    "padding: expected less than the window (2, 2), got ((2, 0), (0, 0))": {
        "padding": ((2, 0), (0, 0))
    },
}


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.avg_pool])
@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(pool, message):
  with pytest.raises(ValueError) as e:
    pool(**{"x": jnp.zeros((4, 4, 1)), "window": 2} | BAD[message])
  assert str(e.value) == message


@pytest.mark.sampled(2)
@compiled
@pytest.mark.parametrize("case", CASES)
def test_the_hand_derived_gradient_matches_autodiff_also_at_ties(x64, case, compile_):
  size, window, strides, padding, (out, _, _) = CASES[case]
  rng = np.random.default_rng(1)
  x = jnp.asarray(rng.integers(0, 3, (2, 3, *size, 2)), float)  # Many ties.
  d_out = jnp.asarray(rng.normal(size=(2, 3, *out, 2)))

  def d_x(implementation):
    def pool(x):
      return pooling.max_pool(x, window, strides, padding, implementation=implementation)

    return compile_(lambda x, d: jax.vjp(pool, x)[1](d)[0])(x, d_out)

  np.testing.assert_allclose(d_x("auto"), d_x("autodiff"), atol=1e-14)


def test_auto_uses_the_hand_derived_gradient_on_cpu():
  x = jnp.ones((1, 4, 4, 1))

  def text(implementation):
    pool = lambda x: pooling.max_pool(x, 2, implementation=implementation).sum()  # noqa: E731
    return jax.jit(jax.grad(pool)).lower(x).as_text()

  assert "select_and_scatter" in text("autodiff") and "select_and_scatter" not in text("auto")
  with pytest.raises(ValueError, match='implementation: expected "auto" or "autodiff"'):
    pooling.max_pool(x, 2, implementation="x")


# Runs on eight virtual CPU devices.
PROGRAM = r"""
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from dlx.layers import pooling

mesh = Mesh(np.array(jax.devices()), ("data",), axis_types=(AxisType.Auto,))
x = jax.device_put(
    jnp.asarray(np.random.default_rng(0).normal(size=(16, 6, 6, 2))),
    NamedSharding(mesh, PartitionSpec("data")),
)
grad = jax.jit(jax.grad(lambda x: (pooling.max_pool(x, 2) ** 2).sum()))
text = grad.lower(x).compile().as_text()
for moved in ("all-gather", "all-to-all", "collective-permute", "all-reduce"):
  assert moved not in text, moved
print("nothing moves")
"""


def test_on_eight_devices_no_image_is_communicated(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["nothing moves"]
