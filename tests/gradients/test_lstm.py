"""The LSTM rule against known results; second derivatives of the layer."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import lstm as gradients
from dlx.layers import lstm

D, H = 2, 3
pytestmark = pytest.mark.usefixtures("x64")
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def draw(batch, steps):
  """(params, xs, carry), (d_last, d_ys): inputs and cotangents, none of them zero."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape))

  params = {"input": normal(D, 4 * H), "hidden": normal(H, 4 * H), "bias": normal(4 * H)}
  inputs = params, normal(*batch, steps, D), (normal(*batch, H), normal(*batch, H))
  return inputs, ((normal(*batch, H), normal(*batch, H)), normal(*batch, steps, H))


def sigmoid(a):
  return 1 / (1 + math.exp(-a))


@eager_and_jit
def test_one_step_of_one_unit_by_hand(compile_):
  w, u, b = (0.7, -0.4, 1.2, 0.1), (0.3, 0.8, -0.5, 0.9), (0.1, 1.0, -0.2, 0.4)
  c, h, x, d_c, d_h, d_y = 0.6, -0.3, 0.8, 0.7, -0.2, 1.3
  a = [w_ * x + u_ * h + b_ for w_, u_, b_ in zip(w, u, b)]
  i, f, g, o = sigmoid(a[0]), sigmoid(a[1]), math.tanh(a[2]), sigmoid(a[3])
  tanh = math.tanh(f * c + i * g)
  d_new_c = d_c + (d_h + d_y) * o * (1 - tanh**2)
  d_a = [
      d_new_c * g * i * (1 - i),
      d_new_c * c * f * (1 - f),
      d_new_c * i * (1 - g**2),
      (d_h + d_y) * tanh * o * (1 - o),
  ]
  params = {"input": jnp.array([w]), "hidden": jnp.array([u]), "bias": jnp.array(b)}
  one = functools.partial(jnp.full, (1,))
  carry, d_out = (one(c), one(h)), ((one(d_c), one(d_h)), one(d_y))
  d_params, d_carry, d_x = compile_(gradients.cell_vjp)(params, carry, one(x), d_out=d_out)
  expected = {"input": np.array([d_a]) * x, "hidden": np.array([d_a]) * h, "bias": np.array(d_a)}
  for name, value in expected.items():
    np.testing.assert_allclose(d_params[name], value, rtol=1e-14)
  np.testing.assert_allclose(d_carry[0], [d_new_c * f], rtol=1e-14)
  np.testing.assert_allclose(d_carry[1], [np.dot(d_a, u)], rtol=1e-14)
  np.testing.assert_allclose(d_x, [np.dot(d_a, w)], rtol=1e-14)


@eager_and_jit
def test_an_open_forget_gate_passes_the_cotangent_of_the_cell_state_exactly(compile_):
  (params, xs, carry), ((d_c, d_h), d_ys) = draw((2,), 5)
  bias = params["bias"].at[:H].set(-1e4).at[H : 2 * H].set(1e4)
  d_out = (d_c, jnp.zeros_like(d_h)), jnp.zeros_like(d_ys)
  d_params, d_xs, d_carry = compile_(gradients.scan_vjp)(
      params | {"bias": bias}, xs, carry, d_out=d_out
  )
  np.testing.assert_array_equal(d_carry[0], d_c)
  for leaf in jax.tree.leaves((d_params, d_xs, d_carry[1])):
    np.testing.assert_array_equal(leaf, 0)


@pytest.mark.full
def test_second_derivatives_of_the_layer_agree_with_autodiff():
  options = {"lengths": jnp.asarray([3, 1, 0]), "reverse": True}
  inputs, d_out = draw((3,), 3)
  direction = jax.tree.map(jnp.cos, inputs)

  def second(implementation):
    """Reverse over reverse: the gradient of the slope along a direction."""
    scan = functools.partial(lstm.scan, implementation=implementation, **options)

    def slope(inputs, d_out):
      slopes = jax.tree.map(jnp.vdot, jax.vjp(scan, *inputs)[1](d_out), direction)
      return sum(jax.tree.leaves(slopes))

    return jax.jit(jax.grad(slope, argnums=(0, 1)))(inputs, d_out)

  expected = second("autodiff")
  assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(expected))
  jax.tree.map(
      lambda a, e: np.testing.assert_allclose(a, e, rtol=1e-11, atol=1e-11),
      second("auto"),
      expected,
  )
