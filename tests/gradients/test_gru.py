"""The GRU rule against a loop by hand; second derivatives of the layer."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import gru as gradients
from dlx.layers import gru

D, H = 2, 3
pytestmark = pytest.mark.usefixtures("x64")
both_forms = pytest.mark.parametrize("reset_after", [False, True], ids=["before", "after"])

def draw(reset_after, batch, steps):
  """(params, xs, carry), (d_last, d_ys): inputs and cotangents, none of them zero."""
  rng = np.random.default_rng(0)

  def normal(*shape):
    return jnp.asarray(rng.normal(size=shape))

  params = {"input": normal(D, 3 * H), "hidden": normal(H, 3 * H), "bias": normal(3 * H)}
  if reset_after:
    params["hidden_bias"] = normal(3 * H)
  inputs = params, normal(*batch, steps, D), normal(*batch, H)
  return inputs, (normal(*batch, H), normal(*batch, steps, H))


def by_vjp(implementation, options, inputs, d_out):
  """The cotangents of the inputs by jax.vjp of an implementation of the layer."""
  scan = functools.partial(gru.scan, implementation=implementation, **options)
  return jax.vjp(scan, *inputs)[1](d_out)


def by_rule(options, inputs, d_out):
  return gradients.scan_vjp(*inputs, d_out=d_out, **options)


def check(actual, expected, tolerance=1e-11):
  """Every cotangent, leaf by leaf; fails as AssertionError."""
  assert jax.tree.structure(actual) == jax.tree.structure(expected)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, atol=tolerance, rtol=tolerance),
      actual,
      expected,
  )


@pytest.mark.full
@both_forms
def test_second_derivatives_agree_with_autodiff(reset_after):
  options = {"lengths": jnp.asarray([4, 2, 0]), "reset_after": reset_after}
  inputs, d_out = draw(reset_after, (3,), 4)
  direction = jax.tree.map(jnp.cos, inputs)

  def second(first):
    """Reverse over reverse: the gradient of the slope along a direction."""

    @jax.jit
    @jax.grad
    def of_slope(inputs_and_d_out):
      slopes = jax.tree.map(jnp.vdot, first(*inputs_and_d_out), direction)
      return sum(jax.tree.leaves(slopes))

    return of_slope((inputs, d_out))

  expected = second(functools.partial(by_vjp, "autodiff", options))
  assert all(np.any(np.asarray(leaf) != 0) for leaf in jax.tree.leaves(expected))
  check(second(functools.partial(by_vjp, "auto", options)), expected)
  check(second(functools.partial(by_rule, options)), expected)


def sigmoid(a):
  return 1 / (1 + np.exp(-a))


def by_hand(params, xs, carry, d_last, d_ys):
  """The rule of the form without reset_after, for one sequence."""
  u_r, u_z, u_n = np.split(params["hidden"], 3, axis=-1)
  h, saved = carry, []
  for x in xs:
    a_r, a_z, a_n = np.split(x @ params["input"] + params["bias"], 3)
    r, z = sigmoid(a_r + h @ u_r), sigmoid(a_z + h @ u_z)
    n = np.tanh(a_n + (r * h) @ u_n)
    saved.append((x, h, r, z, n))
    h = (1 - z) * h + z * n
  d_params = {name: np.zeros_like(value) for name, value in params.items()}
  d_xs, d_h = np.zeros_like(xs), d_last
  for t in reversed(range(len(xs))):
    x, h, r, z, n = saved[t]
    d_new = d_h + d_ys[t]
    d_an = d_new * z * (1 - n**2)
    d_az = d_new * (n - h) * z * (1 - z)
    d_rh = d_an @ u_n.T
    d_ar = d_rh * h * r * (1 - r)
    d_h = d_new * (1 - z) + d_rh * r + d_ar @ u_r.T + d_az @ u_z.T
    d_a = np.concatenate([d_ar, d_az, d_an])
    d_xs[t] = params["input"] @ d_a
    d_params["input"] += np.outer(x, d_a)
    d_params["bias"] += d_a
    d_params["hidden"] += np.concatenate(
        [np.outer(h, d_ar), np.outer(h, d_az), np.outer(r * h, d_an)], axis=-1
    )
  return d_params, d_xs, d_h


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_rule_agrees_with_the_derivation_by_hand(compile_):
  inputs, d_out = draw(False, (), 4)
  expected = by_hand(*jax.tree.map(np.asarray, (*inputs, *d_out)))
  check(compile_(gradients.scan_vjp)(*inputs, d_out=d_out), expected)
