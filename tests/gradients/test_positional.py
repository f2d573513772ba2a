"""Gradients of position encodings, beyond the properties of all rules in test_rules.py."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import positional as gradients
from dlx.layers import positional

RULES = [gradients.rotary_vjp, gradients.add_sinusoidal_vjp]


def draw(*shapes, seed=0):
  rng = np.random.default_rng(seed)
  return [jnp.asarray(rng.normal(size=shape)) for shape in shapes]


@pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_the_rule_of_rotary_is_the_layer_at_negative_positions(x64, compile_):
  x, d_y = draw((2, 5, 6), (2, 5, 6))
  p = jnp.array([[0, 3, 1, 4, 2], [9, 8, 7, 6, 5]])
  d_x = compile_(lambda x, d: gradients.rotary_vjp(x, d_out=d, positions=p, base=50.0))(x, d_y)
  np.testing.assert_allclose(d_x, positional.rotary(d_y, -p, base=50.0), rtol=1e-12, atol=1e-14)


def test_rotations_at_large_positions_are_inverted_exactly():
  x = draw((300, 64))[0].astype(jnp.float32)
  positions = 1000 * jnp.arange(300)
  d_x = gradients.rotary_vjp(x, d_out=positional.rotary(x, positions), positions=positions)
  np.testing.assert_allclose(d_x, x, atol=1e-6)


@pytest.mark.parametrize("rule", RULES)
def test_the_cotangent_does_not_depend_on_x(rule):
  x, other, d_y = draw((3, 4), (3, 4), (3, 4))
  np.testing.assert_array_equal(rule(x, d_out=d_y), rule(other, d_out=d_y))
  second = jax.grad(lambda x: jnp.square(rule(x, d_out=d_y)).sum())(x)
  np.testing.assert_array_equal(second, np.zeros((3, 4)))


@pytest.mark.parametrize("rule", RULES)
def test_a_wrong_cotangent_is_reported(rule):
  x = jnp.ones((3, 4))
  with pytest.raises(ValueError, match=r"d_out: expected shape \(3, 4\), got \(4,\)"):
    rule(x, d_out=jnp.ones(4))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    rule(x, d_out=jnp.ones((3, 4), jnp.bfloat16))
