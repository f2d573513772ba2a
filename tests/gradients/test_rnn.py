"""The rule of the simple recurrent layer against known results."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import rnn

pytestmark = pytest.mark.usefixtures("x64")
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


@eager_and_jit
def test_two_steps_of_one_unit_by_hand(compile_):
  w, u, b, x1, x2, h0, d_y1, d_y2, d_last = 0.7, -1.3, 0.2, 0.5, -0.9, 0.4, 1.1, -0.6, 0.3
  h1 = math.tanh(w * x1 + u * h0 + b)
  h2 = math.tanh(w * x2 + u * h1 + b)
  d_a2 = (d_y2 + d_last) * (1 - h2**2)
  d_a1 = (d_y1 + d_a2 * u) * (1 - h1**2)
  params = {"input": jnp.array([[w]]), "hidden": jnp.array([[u]]), "bias": jnp.array([b])}
  d_out = jnp.array([d_last]), jnp.array([[d_y1], [d_y2]])
  d_params, d_xs, d_carry = compile_(rnn.scan_vjp)(
      params, jnp.array([[x1], [x2]]), jnp.array([h0]), d_out=d_out
  )
  found = [d_params["input"][0, 0], d_params["hidden"][0, 0], d_params["bias"][0]]
  found += [d_xs[0, 0], d_xs[1, 0], d_carry[0]]
  expected = [x1 * d_a1 + x2 * d_a2, h0 * d_a1 + h1 * d_a2, d_a1 + d_a2]
  expected += [d_a1 * w, d_a2 * w, d_a1 * u]
  np.testing.assert_allclose(found, expected, rtol=1e-14)


@eager_and_jit
def test_two_steps_of_two_relu_units_by_hand(compile_):
  # a_1 = [2, -1] + [0, 0] and h_1 = [2, 0]; a_2 = [-1, 3] + [0, 2] and h_2 = [0, 5].
  params = {"input": jnp.eye(2), "hidden": jnp.array([[0.0, 1], [1, 0]]), "bias": jnp.zeros(2)}
  xs, d_ys = jnp.array([[2.0, -1], [-1, 3]]), jnp.array([[1.0, 10], [100, 1000]])
  d_params, d_xs, d_carry = compile_(functools.partial(rnn.scan_vjp, activation=jax.nn.relu))(
      params, xs, jnp.zeros(2), d_out=(jnp.zeros(2), d_ys)
  )
  # Only the second unit is active in step 2, and it reads the first, which is active in step 1.
  np.testing.assert_array_equal(d_xs, [[1001, 0], [0, 1000]])
  np.testing.assert_array_equal(d_carry, [0, 1001])
  np.testing.assert_array_equal(d_params["bias"], [1001, 1000])
  np.testing.assert_array_equal(d_params["input"], [[2002, -1000], [-1001, 3000]])
  np.testing.assert_array_equal(d_params["hidden"], [[0, 2000], [0, 0]])


@eager_and_jit
def test_relu_has_no_gradient_at_zero_and_ignores_what_an_inactive_unit_receives(compile_):
  params = {"input": jnp.eye(3), "hidden": jnp.zeros((3, 3)), "bias": jnp.zeros(3)}
  d_y = jnp.array([jnp.inf, 5.0, 7.0])
  rule = compile_(functools.partial(rnn.cell_vjp, activation=jax.nn.relu))
  _, _, d_x = rule(params, jnp.zeros(3), jnp.array([-1.0, 0, 1]), d_out=(jnp.zeros(3), d_y))
  np.testing.assert_array_equal(d_x, [0, 0, 7])


def test_an_activation_without_a_rule_is_refused():
  params = {"input": jnp.eye(2), "hidden": jnp.eye(2), "bias": jnp.zeros(2)}
  h, xs = jnp.zeros(2), jnp.zeros((3, 2))
  message = "activation: expected jnp.tanh or jax.nn.relu, got <.*softplus"
  with pytest.raises(ValueError, match=message):
    rnn.scan_vjp(params, xs, h, d_out=(h, xs), activation=jax.nn.softplus)
  with pytest.raises(ValueError, match=message):
    rnn.cell_vjp(params, h, xs[0], d_out=(h, h), activation=jax.nn.softplus)


@eager_and_jit
@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
def test_an_orthogonal_recurrence_keeps_the_norm_of_the_cotangent(compile_, reverse):
  # At h = 0, where tanh' = 1, d_carry = d_last (U^T)^T.
  rng = np.random.default_rng(0)
  orthogonal, _ = np.linalg.qr(rng.normal(size=(3, 3)))
  params = {
      "input": jnp.ones((2, 3)), "hidden": jnp.asarray(orthogonal), "bias": jnp.zeros(3)
  }
  d_last = rng.normal(size=3)

  def d_carry(d_last):
    d_out = d_last, jnp.zeros((5, 3))
    xs, carry = jnp.zeros((5, 2)), jnp.zeros(3)
    return rnn.scan_vjp(params, xs, carry, d_out=d_out, reverse=reverse)[2]

  found = compile_(d_carry)(jnp.asarray(d_last))
  np.testing.assert_allclose(found, d_last @ np.linalg.matrix_power(orthogonal.T, 5), rtol=1e-12)
  np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(d_last), rtol=1e-12)


def test_a_saturated_unit_has_no_gradient():
  params = {"input": jnp.ones((1, 2)), "hidden": jnp.eye(2), "bias": jnp.array([1e3, 0.0])}
  d_out = jnp.ones(2), jnp.ones((4, 2))
  d_params, d_xs, d_carry = rnn.scan_vjp(params, jnp.ones((4, 1)), jnp.zeros(2), d_out=d_out)
  np.testing.assert_array_equal(d_carry[0], 0)
  np.testing.assert_array_equal(d_params["bias"][0], 0)
  assert d_carry[1] != 0 and d_params["bias"][1] != 0 and (d_xs != 0).all()
