"""Gradients of norms in extreme cases, of batch norm, and over eight devices.

Random inputs are tested in test_rules.py.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import norm as gradients
from dlx.layers import norm

compiled = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
VECTOR_RULES = [gradients.layer_norm_vjp, gradients.rms_norm_vjp]


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


def draw_batch(shape, seed=0):
  """(params, stats, x) and (d_y, d_stats) of batch norm."""
  c = shape[-1:]
  scale, bias, mean, var, x, d_y, d_mean, d_var = draw(c, c, c, c, shape, shape, c, c, seed=seed)
  inputs = {"scale": scale, "bias": bias}, {"mean": mean, "var": jnp.square(var)}, x
  return inputs, (d_y, {"mean": d_mean, "var": d_var})


def assert_close(actual, expected, tolerance):
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


@compiled
@pytest.mark.parametrize("shape", [(4, 3), (2, 2, 3)])
def test_the_layer_uses_the_rule_in_training(x64, compile_, shape):
  inputs, d_out = draw_batch(shape)

  def vjp(inputs, d_out, **options):
    run = lambda *args: norm.batch_norm(*args, train=True, eps=0.1, **options)  # noqa: E731
    return jax.vjp(run, *inputs)[1](d_out)

  by_hand = compile_(vjp)(inputs, d_out)
  assert_close(by_hand, vjp(inputs, d_out, implementation="autodiff"), 1e-12)
  rule = compile_(
      lambda inputs, d: gradients.batch_norm_vjp(*inputs, d_out=d, train=True, eps=0.1)
  )
  assert_close(by_hand, rule(inputs, d_out), 1e-12)


@compiled
@pytest.mark.parametrize("layer, rule", [
    (norm.layer_norm, gradients.layer_norm_vjp), (norm.rms_norm, gradients.rms_norm_vjp)
])  # fmt: skip
def test_the_layer_uses_the_rule_of_a_vector_norm(x64, compile_, layer, rule):
  (params, _, x), (d_y, _) = draw_batch((2, 2, 3))

  def vjp(params, x, d_y, **options):
    return jax.vjp(lambda *args: layer(*args, eps=0.1, **options), params, x)[1](d_y)

  by_hand = compile_(vjp)(params, x, d_y)
  assert_close(by_hand, vjp(params, x, d_y, implementation="autodiff"), 1e-12)
  assert_close(by_hand, rule(params, x, d_out=d_y, eps=0.1), 1e-12)


def layers(implementation):
  """The name of each norm and the norm as a function of x."""
  (params, stats, x), _ = draw_batch((4, 3))
  options = {"implementation": implementation}
  return x, {
      "layer_norm": lambda x: norm.layer_norm(params, x, **options),
      "rms_norm": lambda x: norm.rms_norm(params, x, **options),
      "batch_norm": lambda x: norm.batch_norm(params, stats, x, train=True, **options),
  }


NAMES = pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "batch_norm"])


@NAMES
def test_the_layer_has_second_derivatives(x64, name):
  def second(implementation):
    x, functions = layers(implementation)
    v = jnp.sin(jnp.arange(x.size)).reshape(x.shape)

    def loss(x):
      return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves(functions[name](v * x)))

    return jax.jit(jax.grad(lambda x: (jax.grad(loss)(x) * v).sum()))(x)

  expected = second("autodiff")
  assert np.abs(expected).max() > 0.01
  np.testing.assert_allclose(second("auto"), expected, rtol=1e-10, atol=1e-12)


@NAMES
def test_the_backward_pass_saves_x_and_nothing_else_of_its_size(name):
  def kept(implementation):
    x, functions = layers(implementation)
    leaves = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(functions[name], x)[1], x))
    return sum(leaf.size == x.size for leaf in leaves)

  assert kept("auto") == 1 < kept("autodiff")


@NAMES
def test_only_autodiff_has_a_forward_mode(name):
  x, functions = layers("autodiff")
  _, tangents = jax.jvp(functions[name], (x,), (x,))
  assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tangents))
  x, functions = layers("auto")
  with pytest.raises(TypeError, match="no forward mode"):
    jax.jvp(functions[name], (x,), (x,))


@compiled
def test_at_zero_variance_the_gradient_is_that_of_centering_over_sqrt_eps(x64, compile_):
  # x = (k, k, k): u is 0 and changes by (d_x - mean(d_x)) / sqrt(eps), a symmetric map.
  params = {"scale": jnp.array([1.0, 2.0, 3.0])}
  x, [d_y] = jnp.full((2, 3), 7.0), draw((2, 3))
  rule = compile_(lambda *args: gradients.layer_norm_vjp(*args, d_out=d_y, eps=0.01))
  d_params, d_x = rule(params, x)
  d_u = d_y * params["scale"]
  np.testing.assert_allclose(d_x, (d_u - d_u.mean(-1, keepdims=True)) / 0.1, rtol=1e-12)
  np.testing.assert_array_equal(d_params["scale"], np.zeros(3))


@compiled
def test_at_zero_rms_norm_is_division_by_sqrt_eps(x64, compile_):
  params, [d_y] = {"scale": jnp.array([1.0, 2.0, 3.0])}, draw((2, 3))
  rule = compile_(lambda *args: gradients.rms_norm_vjp(*args, d_out=d_y, eps=0.01))
  d_params, d_x = rule(params, jnp.zeros((2, 3)))
  np.testing.assert_allclose(d_x, d_y * params["scale"] / 0.1, rtol=1e-12)
  np.testing.assert_array_equal(d_params["scale"], np.zeros(3))


@compiled
def test_one_example_has_a_gradient_only_through_the_running_mean(x64, compile_):
  inputs, d_out = draw_batch((1, 3))
  d_params, d_stats, d_x = compile_(
      lambda inputs, d_out: gradients.batch_norm_vjp(
          *inputs, d_out=d_out, train=True, momentum=0.75
      )
  )(inputs, d_out)
  np.testing.assert_array_equal(d_params["scale"], np.zeros(3))
  np.testing.assert_allclose(d_params["bias"], d_out[0][0])
  np.testing.assert_allclose(d_x[0], 0.25 * d_out[1]["mean"], rtol=1e-12)
  assert_close(d_stats, jax.tree.map(lambda d: 0.75 * d, d_out[1]), 1e-15)


def test_directions_that_do_not_change_the_output_have_no_gradient(x64):
  (params, stats, x), (d_y, _) = draw_batch((6, 4))
  _, d_x = gradients.layer_norm_vjp(params, x, d_out=d_y, eps=0)
  np.testing.assert_allclose(d_x.sum(-1), 0, atol=1e-14)  # A constant added to all x.
  np.testing.assert_allclose((d_x * x).sum(-1), 0, atol=1e-14)  # A factor.
  _, d_x = gradients.rms_norm_vjp(params, x, d_out=d_y, eps=0)
  np.testing.assert_allclose((d_x * x).sum(-1), 0, atol=1e-14)
  assert np.abs(d_x.sum(-1)).min() > 1e-3
  d_new = {"mean": jnp.zeros(4), "var": jnp.zeros(4)}
  _, d_stats, d_x = gradients.batch_norm_vjp(
      params, stats, x, d_out=(d_y, d_new), train=True, eps=0
  )
  np.testing.assert_allclose(d_x.sum(0), 0, atol=1e-14)
  np.testing.assert_allclose((d_x * x).sum(0), 0, atol=1e-14)
  assert not any(np.any(d) for d in d_stats.values())  # y does not use the old statistics.


def test_the_gradient_is_accurate_at_a_huge_offset():
  rng = np.random.default_rng(0)
  steps, d_y = rng.integers(-20, 21, size=(64, 8, 4)) / 8, rng.normal(size=(64, 8, 4))
  params, stats = norm.init(jax.random.key(0), 4), norm.init_stats(4)

  def cotangents(x):
    loss = lambda x: (d_y * norm.batch_norm(params, stats, x, train=True)[0]).sum()  # noqa: E731
    return jax.jit(jax.grad(loss))(x)

  near = cotangents(jnp.asarray(steps, jnp.float32))
  far = cotangents(jnp.asarray(2.0**20 + steps, jnp.float32))
  # The mean rounds to a multiple of 1/16, a fiftieth of the standard deviation.
  np.testing.assert_allclose(far, near, atol=0.03)


@pytest.mark.parametrize("rule", VECTOR_RULES)
def test_a_wrong_cotangent_is_reported(rule):
  params, x = norm.init(jax.random.key(0), 3), jnp.ones((2, 3))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 3\), got \(2, 4\)"):
    rule(params, x, d_out=jnp.ones((2, 4)))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    rule(params, x, d_out=jnp.ones((2, 3), jnp.bfloat16))


@pytest.mark.parametrize("train", [True, False])
def test_wrong_cotangents_of_batch_norm_are_reported(train):
  params, stats, x = norm.init(jax.random.key(0), 3), norm.init_stats(3), jnp.ones((2, 3))

  def rule(d_y, d_mean):
    d_stats = {"mean": d_mean, "var": jnp.ones(3)}
    gradients.batch_norm_vjp(params, stats, x, d_out=(d_y, d_stats), train=train)

  with pytest.raises(ValueError, match=r"d_out\[0\]: expected shape \(2, 3\), got \(3,\)"):
    rule(jnp.ones(3), jnp.ones(3))
  with pytest.raises(ValueError, match=r"d_out\[1\]\['mean'\]: expected shape \(3,\), got \(2,\)"):
    rule(x, jnp.ones(2))
  with pytest.raises(ValueError, match=r"d_out\[1\]\['mean'\]: expected dtype float32, got bfl"):
    rule(x, jnp.ones(3, jnp.bfloat16))


# Runs on eight simulated devices, in float64.
PROGRAM = '''
import re
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from dlx.layers import norm

mesh = jax.make_mesh((4, 2), ("batch", "rows"), axis_types=(AxisType.Auto,) * 2)
x, d_y = np.random.default_rng(0).normal(size=(2, 16, 4, 4, 2))
params, stats = norm.init(jax.random.key(0), 2), norm.init_stats(2)

@jax.jit
def step(x, d_y):
  def run(params, x):
    y, new = norm.batch_norm(params, stats, x, train=True)
    return (y, norm.layer_norm(params, x), norm.rms_norm(params, x)), new
  (ys, new), vjp = jax.vjp(run, params, x)
  return ys, new, vjp(((d_y, d_y, d_y), new))

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


def test_eight_devices_share_statistics_and_gather_no_activation(on_eight_devices):
  # Values sent at once: one for each of the 2 channels; with split rows, for each of the 4
  # images of a device, too. A device has 64 or more values of x.
  assert on_eight_devices(PROGRAM) == ["2", "8"]
