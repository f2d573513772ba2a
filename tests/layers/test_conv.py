"""Convolution and its transpose: values, sizes, gradient paths, initial scale, errors."""

import itertools

import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import conv

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [rng.normal(size=shape) for shape in shapes]


def on_device(kernel, bias):
  return {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}


def meetings(out, window, strides, dilation, low):
  """All (u, i, position): element i of window u reads that position of the image."""
  for u in np.ndindex(*out):
    for i in np.ndindex(*window):
      yield u, i, tuple(np.array(u) * strides + np.array(i) * dilation - low)


def channels(kernel, groups):
  """All (c_in, c of the kernel, c_out) that are connected."""
  per_in, per_out = kernel.shape[2], kernel.shape[3] // groups
  for g, c, k in itertools.product(range(groups), range(per_in), range(per_out)):
    yield g * per_in + c, c, g * per_out + k


def correlate(x, kernel, bias, out, strides, dilation, low, groups):
  """y[u] = b + sum_i x[u s + i d - p] K[i], in plain loops."""
  y = np.zeros((*out, kernel.shape[-1])) + bias
  for u, i, place in meetings(out, kernel.shape[:2], strides, dilation, low):
    if all(0 <= p < n for p, n in zip(place, x.shape)):
      for c_in, c, c_out in channels(kernel, groups):
        y[(*u, c_out)] += x[(*place, c_in)] * kernel[(*i, c, c_out)]
  return y


def stamp(x, kernel, bias, out, strides, dilation, low, groups):
  """y[u s + i d - p] += x[u] K[i], in plain loops."""
  y = np.zeros((*out, kernel.shape[-1])) + bias
  for u, i, place in meetings(x.shape[:2], kernel.shape[:2], strides, dilation, low):
    if all(0 <= p < n for p, n in zip(place, out)):
      for c_in, c, c_out in channels(kernel, groups):
        y[(*place, c_out)] += x[(*u, c_in)] * kernel[(*i, c, c_out)]
  return y


# (size, window, groups, options, arguments of the reference: size of y, stride, dilation, pad)
APPLY = {
    "same": ((5, 4), (3, 2), 1, {}, ((5, 4), (1, 1), (1, 1), (1, 0))),
    "valid_strides": ((5, 6), (3, 3), 1, {"strides": (2, 1), "padding": "VALID"},
                      ((2, 4), (2, 1), (1, 1), (0, 0))),
    "same_stride_2": ((6, 5), (3, 3), 1, {"strides": 2}, ((3, 3), (2, 2), (1, 1), (0, 1))),
    "dilation_groups": ((6, 7), (3, 2), 2, {"dilation": (2, 3), "padding": ((1, 0), (2, 3))},
                        ((3, 9), (1, 1), (2, 3), (1, 2))),
    "stride_above_window": ((5, 5), (1, 1), 1, {"strides": 2}, ((3, 3), (2, 2), (1, 1), (0, 0))),
}  # fmt: skip
TRANSPOSE = {
    "same": ((3, 2), (3, 4), 1, {"strides": 2}, ((6, 4), (2, 2), (1, 1), (0, 1))),
    "valid": ((3, 2), (3, 2), 1, {"strides": (2, 1), "padding": "VALID"},
              ((7, 3), (2, 1), (1, 1), (0, 0))),
    "cut_groups": ((3, 3), (3, 2), 2, {"strides": 2, "dilation": 2, "padding": ((1, 0), (0, 2))},
                   ((8, 5), (2, 2), (2, 2), (1, 0))),
    # With negative padding XLA's CPU code crops the wrong row here.
    "cut_a_stamp": ((2, 3), (1, 1), 10, {"padding": ((1, 0), (0, 0))},
                    ((1, 3), (1, 1), (1, 1), (1, 0))),
    "same_small_window": ((2, 3), (1, 2), 1, {"strides": 3}, ((6, 9), (3, 3), (1, 1), (0, 0))),
}  # fmt: skip


def check_against(reference, function, case, compile_):
  size, window, groups, options, (out, *geometry) = case
  x, kernel, bias = draw((*size, 2 * groups), (*window, 2, 3 * groups), (3 * groups,))
  y = compile_(lambda p, x: function(p, x, groups=groups, **options))(
      on_device(kernel, bias), jnp.asarray(x)
  )
  expected = reference(x, kernel, bias, out, *geometry, groups)
  assert y.dtype == jnp.float64
  np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


@compiled
@pytest.mark.parametrize("case", APPLY)
def test_every_output_is_the_sum_over_its_window(x64, case, compile_):
  check_against(correlate, conv.apply, APPLY[case], compile_)


@compiled
@pytest.mark.parametrize("case", TRANSPOSE)
def test_every_input_adds_a_scaled_kernel_to_the_output(x64, case, compile_):
  check_against(stamp, conv.transpose, TRANSPOSE[case], compile_)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("strides", [1, 2, 3])
def test_the_transpose_matches_jax(x64, strides, padding):
  x, kernel = draw((2, 4, 3, 2), (3, 4, 2, 5))
  expected = lax.conv_transpose(
      jnp.asarray(x), jnp.asarray(kernel.swapaxes(2, 3)), (strides, strides), padding,
      dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True,
  )  # fmt: skip
  y = conv.transpose(
      {"kernel": jnp.asarray(kernel)}, jnp.asarray(x), strides=strides, padding=padding
  )
  np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-13)


def test_transpose_is_the_transpose_of_apply(x64):
  """<apply(x), y> = <x, transpose(y)> with the kernel's channels swapped."""
  options = {"strides": (2, 3), "padding": ((1, 2), (0, 1)), "dilation": (1, 2)}
  x, kernel = draw((7, 8, 2), (4, 2, 2, 3))  # The windows cover all of the padding.
  y = conv.apply({"kernel": jnp.asarray(kernel)}, jnp.asarray(x), **options)
  (d_y,) = draw(y.shape, seed=1)
  back = conv.transpose(
      {"kernel": jnp.asarray(kernel.swapaxes(2, 3))}, jnp.asarray(d_y), **options
  )
  np.testing.assert_allclose(np.vdot(y, d_y), np.vdot(x, back), rtol=1e-12)


@pytest.mark.parametrize("function", [conv.apply, conv.transpose])
def test_leading_dimensions_are_a_batch(x64, function):
  kernel, bias, x = draw((2, 3, 2, 3), (3,), (2, 3, 4, 4, 2))
  params, x = on_device(kernel, bias), jnp.asarray(x)
  y = function(params, x, strides=2)
  over_both = jax.vmap(jax.vmap(lambda x: function(params, x, strides=2)))
  np.testing.assert_allclose(over_both(x), y, rtol=1e-12, atol=1e-13)
  np.testing.assert_allclose(function(params, x[1, 2], strides=2), y[1, 2], rtol=1e-12, atol=1e-13)
  assert function(params, x[:0], strides=2).shape == (0, *y.shape[1:])


def test_convolution_is_equivariant_to_shifts(x64):
  x, kernel = draw((6, 6, 1), (3, 3, 1, 2))

  def apply(x):
    return conv.apply({"kernel": jnp.asarray(kernel)}, jnp.asarray(x), padding="VALID")

  np.testing.assert_allclose(apply(x[1:]), apply(x)[1:], rtol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (4, 7), (6, 5)])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 2), (3, 1))])
@pytest.mark.parametrize("window, strides, dilation", [(1, 1, 1), ((1, 3), 2, 1), (2, (3, 1), 2)])
def test_output_size_matches_jax(size, window, strides, padding, dilation):

  def pair(n):
    return (n, n) if isinstance(n, int) else n

  def shape(x, k):
    return lax.conv_general_dilated(
        x, k, pair(strides), padding, rhs_dilation=pair(dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )  # fmt: skip

  kernel = jnp.zeros((*pair(window), 1, 1))
  expected = jax.eval_shape(shape, jnp.zeros((1, *size, 1)), kernel).shape[1:3]
  if min(expected) < 1:
    with pytest.raises(ValueError, match=r"window: expected one that fits into \("):
      conv.output_size(size, window, strides, padding, dilation)
  else:
    assert conv.output_size(size, window, strides, padding, dilation) == expected
    y = jax.eval_shape(
        lambda x: conv.apply(
            {"kernel": kernel}, x, strides=strides, padding=padding, dilation=dilation
        ),
        jnp.zeros((*size, 1)),
    )
    assert y.shape == (*expected, 1)


def test_output_size_of_one_dimension():
  assert conv.output_size(227, 11, 4, "VALID") == 55
  assert conv.output_size(224, 7, 2, (3, 3)) == conv.output_size(224, 7, 2, "SAME") == 112
  with pytest.raises(ValueError, match=r"size: expected \(H, W\) .* got 5"):
    conv.output_size(5, (2, 3), 1, "VALID")


@pytest.mark.parametrize("groups", [1, 4])
def test_init_keeps_the_variance_of_activations(groups):
  params = conv.init(jax.random.key(0), (3, 5), 32, 64, groups=groups)
  assert params["kernel"].shape == (3, 5, 32 // groups, 64)
  np.testing.assert_array_equal(params["bias"], np.zeros(64))
  # With 7,680 entries or more, 9 percent are more than five standard deviations.
  assert 15 * 32 / groups * np.var(params["kernel"]) == pytest.approx(1, rel=0.09)
  assert set(conv.init(jax.random.key(0), 3, 2, 2, bias=False)) == {"kernel"}


@pytest.mark.parametrize("function", [conv.apply, conv.transpose])
def test_dtypes_promote(function):
  params = conv.init(jax.random.key(0), 3, 2, 4)
  assert function(params, jnp.ones((4, 4, 2), jnp.bfloat16)).dtype == jnp.float32
  params = jax.tree.map(lambda p: p.astype(jnp.bfloat16), params)
  assert function(params, jnp.ones((4, 4, 2), jnp.bfloat16)).dtype == jnp.bfloat16


BAD = {
    "x: expected shape (..., H, W, C), got (4, 2)": {"x": (4, 2)},
    "x: expected a last dimension of 2, got shape (4, 4, 3)": {"x": (4, 4, 3)},
    "x: expected a last dimension of 4, got shape (4, 4, 2)": {"groups": 2},
    "groups: expected a divisor of c_out = 4, got 3": {"groups": 3},
    "kernel: expected shape (h, w, c_in / groups, c_out), got (3, 3)": {"kernel": (3, 3)},
    "strides: expected an int or a pair of ints, each at least 1, got 0": {"strides": 0},
    "strides: expected an int or a pair of ints, each at least 1, got 1.5": {"strides": 1.5},
    "dilation: expected an int or a pair of ints, each at least 1, got (1, 2, 3)": {
        "dilation": (1, 2, 3)
    },
    'padding: expected "SAME", "VALID" or ((low, high), (low, high)) of ints that are at '
    "least 0, got 'same'": {"padding": "same"},
    'padding: expected "SAME", "VALID" or ((low, high), (low, high)) of ints that are at '
    "least 0, got ((-1, 0), (0, 0))": {"padding": ((-1, 0), (0, 0))},
}


@pytest.mark.parametrize("function", [conv.apply, conv.transpose])
@pytest.mark.parametrize("message", BAD)
def test_bad_input_is_named(function, message):
  bad = dict(BAD[message])
  params = {"kernel": jnp.zeros(bad.pop("kernel", (3, 3, 2, 4)))}
  x = jnp.zeros(bad.pop("x", (4, 4, 2)))
  with pytest.raises(ValueError) as e:
    function(params, x, **bad)
  assert str(e.value) == message


def test_arguments_that_do_not_fit_are_named():
  params = {"kernel": jnp.zeros((3, 3, 2, 4))}
  with pytest.raises(ValueError) as e:
    conv.apply(params, jnp.zeros((2, 4, 2)), padding="VALID", dilation=2)
  assert str(e.value) == (
      "window: expected one that fits into (2, 4) with padding 'VALID', got (3, 3) with "
      "dilation (2, 2)"
  )
  with pytest.raises(ValueError, match="padding: expected to cut less than the whole output"):
    conv.transpose(params, jnp.zeros((1, 1, 2)), padding=((1, 2), (0, 0)))
  with pytest.raises(ValueError, match="implementation: expected \"auto\" or \"autodiff\""):
    conv.apply(params, jnp.zeros((4, 4, 2)), implementation="x")
  with pytest.raises(ValueError, match="groups: expected a divisor of c_in = 3 and c_out = 4"):
    conv.init(jax.random.key(0), 3, 3, 4, groups=2)
