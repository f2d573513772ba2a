"""The gradient of group norm in extreme cases, what it saves, and over eight devices.

Random inputs are tested in test_rules.py.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import group_norm as gradients
from dlx.layers import norm

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
OPTIONS = {"groups": 2, "eps": 0.1}


def draw(shape=(2, 3, 4, 6)):
  """(params, x), d_y."""
  rng = np.random.default_rng(0)
  params = {name: jnp.asarray(rng.normal(size=shape[-1])) for name in ("scale", "bias")}
  return (params, jnp.asarray(rng.normal(size=shape))), jnp.asarray(rng.normal(size=shape))


@pytest.mark.full
@compiled
@pytest.mark.parametrize("spatial", [0, 2])
def test_the_layer_uses_the_rule(x64, compile_, spatial):
  inputs, d_y = draw()
  options = OPTIONS | {"spatial": spatial}

  def vjp(inputs, d_y, **more):
    return jax.vjp(functools.partial(norm.group_norm, **options, **more), *inputs)[1](d_y)

  by_hand = compile_(vjp)(inputs, d_y)
  by_rule = compile_(lambda inputs, d: gradients.group_norm_vjp(*inputs, d_out=d, **options))
  by_jax = jax.jit(functools.partial(vjp, implementation="autodiff"))
  for expected in (by_jax(inputs, d_y), by_rule(inputs, d_y)):
    for a, e in zip(*map(jax.tree.leaves, (by_hand, expected))):
      np.testing.assert_allclose(a, e, rtol=1e-12, atol=1e-12)


def test_the_layer_has_second_derivatives(x64):
  (params, x), v = draw()

  def second(implementation):
    def loss(x):
      layer = functools.partial(norm.group_norm, **OPTIONS, implementation=implementation)
      return jnp.sin(layer(params, x)).sum()

    return jax.jit(jax.grad(lambda x: (jax.grad(loss)(x) * v).sum()))(x)

  expected = second("autodiff")
  assert np.abs(expected).max() > 0.01
  np.testing.assert_allclose(second("auto"), expected, rtol=1e-10, atol=1e-12)


def test_the_backward_pass_saves_x_and_nothing_else_of_its_size():
  def kept(implementation):
    (params, x), _ = draw()
    layer = functools.partial(norm.group_norm, **OPTIONS, implementation=implementation)
    leaves = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(layer, params, x)[1], x))
    return sum(leaf.size == x.size for leaf in leaves)

  assert kept("auto") == 1 < kept("autodiff")


@pytest.mark.full
def test_only_autodiff_has_a_forward_mode():
  (params, x), _ = draw()
  layer = functools.partial(norm.group_norm, params, **OPTIONS)
  assert np.isfinite(
      jax.jvp(functools.partial(layer, implementation="autodiff"), (x,), (x,))[1]
  ).all()
  with pytest.raises(TypeError, match='no forward mode .*implementation="autodiff"'):
    jax.jvp(layer, (x,), (x,))


@compiled
def test_at_zero_variance_the_gradient_is_that_of_centering_over_sqrt_eps(x64, compile_):
  (params, x), d_y = draw()
  rule = compile_(
      lambda *args: gradients.group_norm_vjp(*args, d_out=d_y, groups=2, eps=0.01)
  )
  d_params, d_x = rule(params, jnp.full_like(x, 7.0))
  d_u = np.asarray(d_y * params["scale"]).reshape(2, 3, 4, 2, 3)
  expected = (d_u - d_u.mean((1, 2, 4), keepdims=True)) / 0.1
  np.testing.assert_allclose(d_x, expected.reshape(x.shape), rtol=1e-11, atol=1e-12)
  np.testing.assert_array_equal(d_params["scale"], np.zeros(6))


def test_directions_that_do_not_change_the_output_have_no_gradient(x64):
  (params, x), d_y = draw()
  _, d_x = gradients.group_norm_vjp(params, x, d_out=d_y, groups=2, eps=0)
  groups = (2, 3, 4, 2, 3)
  total = d_x.reshape(groups).sum((1, 2, 4))
  np.testing.assert_allclose(total, 0, atol=1e-13)  # A constant added to all x of a group.
  along = (d_x * x).reshape(groups).sum((1, 2, 4))
  np.testing.assert_allclose(along, 0, atol=1e-13)  # A factor.
  assert np.abs(d_x.sum((1, 2))).min() > 1e-3  # One channel alone is not normalized.


def test_the_gradient_is_accurate_at_a_huge_offset():
  rng = np.random.default_rng(0)
  steps, d_y = rng.integers(-20, 21, size=(4, 8, 8, 4)) / 8, rng.normal(size=(4, 8, 8, 4))
  params = norm.init(None, 4)

  def cotangents(x):
    return jax.jit(jax.grad(lambda x: (d_y * norm.group_norm(params, x, groups=2)).sum()))(x)

  near = cotangents(jnp.asarray(steps, jnp.float32))
  far = cotangents(jnp.asarray(2.0**20 + steps, jnp.float32))
  np.testing.assert_allclose(far, near, atol=0.03)  # The mean rounds to a multiple of 1/16.


def test_a_wrong_cotangent_is_reported():
  params, x = norm.init(None, 4), jnp.ones((2, 2, 4))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 2, 4\), got \(2, 4\)"):
    gradients.group_norm_vjp(params, x, d_out=jnp.ones((2, 4)), groups=2)
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    gradients.group_norm_vjp(params, x, d_out=x.astype(jnp.bfloat16), groups=2)


# Runs on eight simulated devices, in float64.
PROGRAM = '''
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from dlx.layers import norm

mesh = jax.make_mesh((4, 2), ("batch", "rows"), axis_types=(AxisType.Auto,) * 2)
x, d_y = np.random.default_rng(0).normal(size=(2, 16, 8, 8, 4))
params = norm.init(jax.random.key(0), 4)

@jax.jit
def step(x, d_y):
  y, vjp = jax.vjp(lambda params, x: norm.group_norm(params, x, groups=2), params, x)
  return y, vjp(d_y)

for spec in (PartitionSpec(("batch", "rows")), PartitionSpec("batch", "rows")):
  split = [jax.device_put(v, NamedSharding(mesh, spec)) for v in (x, d_y)]
  for one, many in zip(*map(jax.tree.leaves, (step(x, d_y), step(*split)))):
    np.testing.assert_allclose(many, one, rtol=1e-12, atol=1e-12)
  text = step.lower(*split).compile().as_text()
  assert "all-gather" not in text and "all-to-all" not in text
  moved = re.findall(r"= (.*?) (?:all-reduce|collective-permute)[a-z-]*[(]", text)
  shapes = [shape.split(",") for one in moved for shape in re.findall(r"f64[[]([0-9,]+)[]]", one)]
  print(max(np.prod([int(size) for size in shape]) for shape in shapes))
'''


@pytest.mark.full
def test_eight_devices_share_sums_and_gather_no_activation(on_eight_devices):
  # Values sent at once: one for each of the 4 channels, whose gradients are summed; with split
  # rows, for each channel of the 4 images of a device, too. A device has 512 values of x.
  assert on_eight_devices(PROGRAM) == ["4", "16"]
