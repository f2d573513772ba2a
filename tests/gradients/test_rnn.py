"""The rule of the simple recurrent layer against known results."""

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
