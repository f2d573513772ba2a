"""Gradients of convolution: an example by hand, blocks, loops, several devices.

tests/gradients/test_rules.py checks the rules against jax over random shapes.
"""

import functools
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import platform
from dlx.gradients import blocked_conv, windows
from dlx.gradients import conv as gradients
from dlx.layers import conv

# (leading dimensions, size, window, (c_in, c_out) of a group, options)
CASES = {
    "same": ((5,), (6, 5), (3, 3), (2, 2), {}),
    "few_channels": ((4,), (5, 5), (2, 3), (1, 4), {"padding": "VALID"}),
    "strides": ((4,), (7, 6), (3, 2), (2, 3), {"strides": 2}),
    "row_strides": ((6,), (7, 6), (3, 3), (2, 2), {"strides": (2, 1)}),
    "column_strides": ((3,), (5, 6), (2, 2), (2, 1), {"strides": (1, 2), "padding": "VALID"}),
    "dilation": ((2, 3), (6, 7), (3, 2), (3, 2), {"dilation": (2, 3)}),
    "pads": ((2,), (4, 4), (2, 3), (2, 2), {"padding": ((3, 0), (1, 4)), "strides": (3, 1)}),
    "one_by_one": ((4,), (3, 3), (1, 1), (2, 3), {"strides": 2}),
    "groups": ((6,), (4, 5), (3, 2), (2, 3), {"groups": 2}),
    "depthwise": ((3,), (5, 4), (3, 3), (1, 1), {"groups": 3, "strides": 2}),
    "one_image": ((), (9, 4), (3, 3), (2, 2), {}),
    "empty_batch": ((0,), (4, 4), (3, 3), (2, 2), {}),
}


def draw(case, dtype=jnp.float64):
  """(params, x), d_y and the options of a case."""
  batch, size, window, (c_in, c_out), options = CASES[case]
  groups = options.get("groups", 1)
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape), dtype)

  params = {"kernel": normal(*window, c_in, groups * c_out), "bias": normal(groups * c_out)}
  inputs = params, normal(*batch, *size, groups * c_in)
  y = jax.eval_shape(functools.partial(conv.apply, **options), *inputs)
  return inputs, normal(*y.shape), options


def by_vjp(implementation, options, inputs, d_y):
  """The cotangents by jax.vjp of an implementation of the layer."""
  apply = functools.partial(conv.apply, implementation=implementation, **options)
  return jax.vjp(apply, *inputs)[1](d_y)


def check(actual, expected, tolerance=1e-12):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
      actual,
      expected,
  )


def test_a_row_by_hand(x64):
  """x = (1, 2, 3), K = (10, 20), no padding: y_0 = 1*10 + 2*20, y_1 = 2*10 + 3*20."""
  x = jnp.asarray([1.0, 2.0, 3.0]).reshape(1, 3, 1)
  params = {"kernel": jnp.asarray([10.0, 20.0]).reshape(1, 2, 1, 1), "bias": jnp.zeros(1)}
  d_y = jnp.asarray([1.0, -4.0]).reshape(1, 2, 1)
  for compile_ in (lambda f: f, jax.jit):
    rule = compile_(lambda p, x, d: gradients.apply_vjp(p, x, d_out=d, padding="VALID"))
    d_params, d_x = rule(params, x, d_y)
    np.testing.assert_array_equal(d_params["kernel"].ravel(), [1 * 1 - 2 * 4, 2 * 1 - 3 * 4])
    np.testing.assert_array_equal(d_params["bias"], [-3])
    np.testing.assert_array_equal(d_x.ravel(), [10, 20 - 40, -80])
  # Its transpose adds (10, 20) at positions 0 and 1.
  stamps = gradients.transpose_vjp(params, d_y, d_out=x, padding="VALID")
  np.testing.assert_array_equal(stamps[1].ravel(), [1 * 10 + 2 * 20, 2 * 10 + 3 * 20])


def set_rows(monkeypatch, case, rows):
  """Sets the number of output rows of a block."""
  (params, x), d_y, options = draw(case)
  options = {"strides": 1, "padding": "SAME", "dilation": 1} | options
  options.pop("groups", None)
  w = windows.over(x.shape[-3:-1], params["kernel"].shape[:2], **options)
  _, numbers = blocked_conv._plan(x.shape[-1], d_y.shape[-1], w)
  lanes = math.gcd(math.prod(x.shape[:-3]), 2)
  rows = {"two rows": 2, "two images": 2 * w.out[0], "all": 1000}[rows]
  monkeypatch.setattr(blocked_conv, "BLOCK_BYTES", rows * lanes * numbers * x.dtype.itemsize)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("block", ["two rows", "two images", "all"])
@pytest.mark.parametrize("case", CASES)
def test_the_blocked_form_agrees_with_autodiff(x64, monkeypatch, case, block):
  set_rows(monkeypatch, case, block)
  inputs, d_y, options = draw(case)

  @jax.jit
  def both(inputs, d_y):
    return tuple(by_vjp(way, options, inputs, d_y) for way in ("auto", "autodiff"))

  check(*both(inputs, d_y))


@pytest.mark.parametrize(
    "block, expected",
    {
        "two rows": [(1, 1, 4), (1, 0, 4)],  # 15 strips, each with two rows around it.
        "two images": [(1, 2, 6), (1, 1, 6)],  # Two blocks of two images, and the fifth.
        "all": [(1, 5, 6), (1, 0, 6)],
    }.items(),
)
def test_the_cases_cover_blocks_strips_and_remainders(x64, monkeypatch, block, expected):
  """The blocks of the cases above: (lanes, images, rows of x)."""
  seen, products = set(), blocked_conv._products

  def noted(x, *args, **options):
    seen.add(x.shape[:3])
    return products(x, *args, **options)

  set_rows(monkeypatch, "same", block)
  monkeypatch.setattr(blocked_conv, "_products", noted)
  inputs, d_y, options = draw("same")
  jax.eval_shape(lambda: by_vjp("auto", options, inputs, d_y))
  assert seen == set(expected)


@pytest.mark.full
def test_eager_vmap_and_second_order_agree_with_autodiff(x64, monkeypatch):
  set_rows(monkeypatch, "groups", "two images")
  inputs, d_y, options = draw("groups")
  check(*(by_vjp(way, options, inputs, d_y) for way in ("auto", "autodiff")))
  params, x = inputs
  stacked = (params, x[None]), d_y[None]
  mapped = jax.vmap(functools.partial(by_vjp, "auto", options), (((None, 0), 0)))(*stacked)
  check(jax.tree.map(lambda v: v[0], mapped), by_vjp("autodiff", options, inputs, d_y))

  def slope(way, inputs):
    y = conv.apply(*inputs, implementation=way, **options)
    return (jnp.sin(y) * d_y).sum()

  def curvature(way, inputs):
    return jax.grad(lambda i: sum(map(jnp.sum, jax.tree.leaves(
        jax.tree.map(jnp.sin, jax.grad(functools.partial(slope, way))(i))))))(inputs)

  check(*(jax.jit(functools.partial(curvature, way))(inputs) for way in ("auto", "autodiff")))


def test_autodiff_and_accelerators_keep_forward_mode():
  (params, x), _, _ = draw("same", jnp.float32)

  def slope(way):
    return jax.jvp(lambda x: conv.apply(params, x, implementation=way), (x,), (x,))[1]

  slope("autodiff")
  with pytest.raises(TypeError, match="no forward mode"):
    slope("auto")
  with platform.lowering_for("gpu"):
    slope("auto")


@pytest.mark.sampled(1)
@pytest.mark.parametrize("case", ["same", "strides", "one_by_one"])
def test_no_precision_is_lost_in_bfloat16(x64, case):
  """Sums over positions are in float32; only the result is rounded."""
  inputs, d_y, options = draw(case, jnp.bfloat16)
  wide = jax.tree.map(lambda v: v.astype(jnp.float64), (inputs, d_y))
  actual = by_vjp("auto", options, inputs, d_y)
  assert {leaf.dtype for leaf in jax.tree.leaves(actual)} == {jnp.dtype(jnp.bfloat16)}
  expected = by_vjp("autodiff", options, *wide)
  np.testing.assert_allclose(
      actual[0]["kernel"].astype(jnp.float64), expected[0]["kernel"], rtol=2**-8, atol=1e-6
  )


@pytest.mark.full
def test_cotangents_have_the_dtypes_of_the_inputs():
  (params, x), _, _ = draw("same", jnp.float32)
  x = x.astype(jnp.bfloat16)
  d_y = jnp.ones((5, 6, 5, 2))
  for d_params, d_x in (
      gradients.apply_vjp(params, x, d_out=d_y),
      gradients.transpose_vjp(params, x, d_out=d_y),
      by_vjp("auto", {}, (params, x), d_y),
  ):
    assert d_x.dtype == jnp.bfloat16 and d_x.shape == x.shape
    assert {d.dtype for d in d_params.values()} == {jnp.dtype(jnp.float32)}


@pytest.mark.parametrize("rule, size", [(gradients.apply_vjp, 3), (gradients.transpose_vjp, 12)])
def test_a_wrong_cotangent_is_reported(rule, size):
  params, x = {"kernel": jnp.zeros((3, 3, 2, 4))}, jnp.zeros((5, 6, 6, 2))
  shape = (5, size, size, 4)
  with pytest.raises(ValueError) as e:
    rule(params, x, d_out=jnp.zeros((5, 6, 6, 4)), strides=2)
  assert str(e.value) == f"d_out: expected shape {shape}, got (5, 6, 6, 4)"
  with pytest.raises(ValueError) as e:
    rule(params, x, d_out=jnp.zeros(shape, jnp.bfloat16), strides=2)
  assert str(e.value) == "d_out: expected dtype float32, got bfloat16"


def layouts(way, options, x, window, c_out):
  """dim_labels of the convolutions in the compiled loop of training steps."""
  kernel = jnp.ones((*window, x.shape[-1], c_out))

  def step(kernel, _):
    def loss(kernel, x):
      return (conv.apply({"kernel": kernel}, x, implementation=way, **options) ** 2).sum()

    d_kernel, d_x = jax.grad(loss, (0, 1))(kernel, x)
    return kernel - d_kernel - d_x.sum(), None

  loop = jax.jit(lambda kernel: jax.lax.scan(step, kernel, None, length=3)[0])
  return set(re.findall(r"dim_labels=(\S+?)[,\s]", loop.lower(kernel).compile().as_text()))


@pytest.mark.parametrize("options, window", [({}, (3, 3)), ({"strides": 2}, (3, 3)), ({}, (1, 1))])
def test_in_a_loop_all_convolutions_have_the_fast_layout(options, window):
  """On CPU, XLA runs other layouts in a loop at least ten times slower (jax issue 12868)."""
  x = jnp.ones((4, 8, 8, 16))
  assert layouts("auto", options, x, window, 16) <= {"b01f_01io->b01f"}
  assert not layouts("autodiff", options, x, window, 16) <= {"b01f_01io->b01f"}  # Still needed.


# Compiled for a host with eight simulated devices.
PROGRAM = '''
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from dlx.gradients import blocked_conv, windows
from dlx.layers import conv

def step(params, x):
  def loss(params, x):
    h = jax.nn.relu(conv.apply(params["first"], x))
    h = jax.nn.relu(conv.apply(params["second"], h, strides=2))
    return (conv.apply(params["third"], h, padding="VALID") ** 2).sum()
  return jax.grad(loss, (0, 1))(params, x)

rng = np.random.default_rng(0)
shapes = {"first": (3, 3, 2, 3), "second": (3, 3, 3, 4), "third": (1, 1, 4, 5)}
params = {
    name: {"kernel": jnp.asarray(rng.normal(size=shape)), "bias": jnp.zeros(shape[-1])}
    for name, shape in shapes.items()
}
blocked_conv.BLOCK_BYTES = 4096
for batch, counts in {(24,): (2, 8), (8, 3): (8,)}.items():
  x = jnp.asarray(rng.normal(size=(*batch, 12, 12, 2)))
  expected = jax.jit(step)(params, x)
  for count in counts:
    mesh = Mesh(np.array(jax.devices()[:count]), ("data",), axis_types=(AxisType.Auto,))
    place = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("data"))
    run = jax.jit(step, in_shardings=place, out_shardings=place)
    text = run.lower(params, x).compile().as_text()
    assert not re.search("all-gather|all-to-all|collective-permute|reduce-scatter", text)
    (reduced,) = re.findall(r"= (.*) all-reduce[(-]", text)
    sizes = [np.prod([int(n) for n in s.split(",")]) for s in re.findall(r"f64.([0-9,]+)", reduced)]
    assert sorted(sizes) == sorted(p.size for p in jax.tree.leaves(params)), reduced
    assert "while" in text
    for a, b in zip(*map(jax.tree.leaves, (run(params, x), expected))):
      np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11 * np.abs(b).max())
print("one all-reduce, only of weights")
'''


@pytest.mark.full
def test_over_eight_devices_no_image_moves(on_eight_devices):
  assert on_eight_devices(PROGRAM) == ["one all-reduce, only of weights"]
