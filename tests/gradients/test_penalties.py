"""Penalty rules: examples by hand, the kink at 0, trees, dtypes, invalid input."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import penalties as gradients
from dlx.layers import losses

eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])
each_rule = pytest.mark.parametrize(
    "rule", [gradients.l2_penalty_vjp, gradients.l1_penalty_vjp], ids=["l2", "l1"]
)
W = jnp.asarray([[-4.0, 0.0], [1e-30, 8.0]])


@eager_and_jit
def test_l2_is_the_weight_times_w(compile_):
  rule = compile_(functools.partial(gradients.l2_penalty_vjp, weight=0.5))
  d_params = rule({"kernel": W}, d_out=jnp.asarray(3.0))
  np.testing.assert_allclose(d_params["kernel"], 1.5 * W, rtol=1e-6)


@eager_and_jit
def test_l1_is_the_weight_times_the_sign_and_0_at_0(compile_):
  rule = compile_(functools.partial(gradients.l1_penalty_vjp, weight=0.5))
  w = W.at[0, 1].set(-0.0)
  for kernel in (W, w):
    d_params = rule({"kernel": kernel}, d_out=jnp.asarray(3.0))
    np.testing.assert_allclose(d_params["kernel"], [[-1.5, 0], [1.5, 1.5]], rtol=1e-6)
  by_jax = jax.grad(losses.l1_penalty)({"kernel": W}, 0.5)
  np.testing.assert_array_equal(by_jax["kernel"], [[-0.5, 0], [0.5, 0.5]])


def test_a_step_of_gradient_descent_shrinks_every_weight_by_the_same_fraction():
  learning_rate, weight = 0.1, 0.5
  d_params = gradients.l2_penalty_vjp({"kernel": W}, d_out=jnp.ones(()), weight=weight)
  step = W - learning_rate * d_params["kernel"]
  np.testing.assert_allclose(step, (1 - learning_rate * weight) * W, rtol=1e-6)


@each_rule
def test_huge_weights_overflow_only_in_the_sum(rule):
  d_params = rule({"kernel": jnp.asarray([1e30, -jnp.inf])}, d_out=jnp.ones(()), weight=1e-30)
  expected = [1, -jnp.inf] if rule is gradients.l2_penalty_vjp else [1e-30, -1e-30]
  np.testing.assert_allclose(d_params["kernel"], expected, rtol=1e-6)


@each_rule
def test_every_leaf_keeps_its_path_shape_and_dtype(rule):
  params = {"a": [jnp.ones((2, 3), jnp.bfloat16), jnp.ones(3)], "b": {"c": jnp.ones(())}}
  d_params = rule(params, d_out=jnp.ones(()), weight=2.0)
  types = functools.partial(jax.tree.map, lambda w: (w.shape, w.dtype))
  assert types(d_params) == types(params)
  assert all(np.all(leaf == 2) for leaf in jax.tree.leaves(d_params))
  assert rule({}, d_out=jnp.ones(()), weight=2.0) == {}


@each_rule
def test_invalid_input_is_reported(rule):
  params = {"kernel": jnp.ones((2, 2), jnp.bfloat16)}
  with pytest.raises(ValueError, match=r"d_out: expected shape \(\), got \(2, 2\)"):
    rule(params, d_out=jnp.ones((2, 2)), weight=1.0)
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    rule(params, d_out=jnp.ones((), jnp.bfloat16), weight=1.0)
