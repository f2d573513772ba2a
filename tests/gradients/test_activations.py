"""Activation rules: closed forms, kinks, limits, tails, invalid input."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.gradients import activations

POINTS = [-3.0, -1.0, -0.25, 0.5, 2.0]
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def normal_distribution(x):
  return (1 + math.erf(x / math.sqrt(2))) / 2


def gelu_tanh(x):
  return x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def slope(f, x, h=1e-3):
  """f'(x) to the fourth order in h, from four values of f."""
  return (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h)


gelu_exact = functools.partial(activations.gelu_vjp, approximate=False)

# name: (rule, derivative by Python's math, limits of it at -inf and inf).
RULES = {
    "sigmoid": (activations.sigmoid_vjp, lambda x: 1 / (2 + math.exp(x) + math.exp(-x)), (0, 0)),
    "tanh": (activations.tanh_vjp, lambda x: math.cosh(x) ** -2, (0, 0)),
    "relu": (activations.relu_vjp, lambda x: float(x > 0), (0, 1)),
    "softplus": (activations.softplus_vjp, lambda x: 1 / (1 + math.exp(-x)), (0, 1)),
    "silu": (
        activations.silu_vjp,
        lambda x: (1 + math.exp(-x) + x * math.exp(-x)) / (1 + math.exp(-x)) ** 2,
        (0, 1),
    ),
    "gelu": (
        gelu_exact,
        lambda x: normal_distribution(x) + x * math.exp(-(x**2) / 2) / math.sqrt(2 * math.pi),
        (0, 1),
    ),
    "gelu_tanh": (activations.gelu_vjp, lambda x: slope(gelu_tanh, x), (0, 1)),
    "log1p_relu": (activations.log1p_relu_vjp, lambda x: 1 / (1 + x) if x > 0 else 0.0, (0, 0)),
}
each_rule = pytest.mark.parametrize("name", RULES)


@each_rule
@eager_and_jit
def test_the_derivative_is_the_closed_form(x64, name, compile_):
  rule, derivative, _ = RULES[name]
  d_out = jnp.asarray([1.0, -2.0, 0.5, 3.0, 1.5])
  d_x = compile_(rule)(jnp.asarray(POINTS), d_out=d_out)
  expected = [d * derivative(x) for d, x in zip(d_out, POINTS)]
  np.testing.assert_allclose(d_x, expected, rtol=1e-10)


@each_rule
@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16, jnp.float32])
@eager_and_jit
def test_far_from_zero_and_at_infinity_the_derivative_is_its_limit(name, dtype, compile_):
  rule, _, (below, above) = RULES[name]
  far = jnp.asarray([1e4, float(jnp.finfo(dtype).max), jnp.inf], dtype)
  for x, limit in ((-far, below), (far, above)):
    d_x = compile_(rule)(x, d_out=jnp.ones(3, dtype))
    assert d_x.dtype == dtype
    # 1 / (1 + 1e4) is not 0 yet; all others have reached their limit.
    np.testing.assert_allclose(np.asarray(d_x, np.float64), limit, atol=2e-4)


@each_rule
def test_second_derivatives_are_finite_everywhere(x64, name):
  rule = RULES[name][0]
  x = jnp.asarray([-1e300, -1e4, -1001.0, -41.0, -1.0, 0.0, 41.0, 1001.0, 1e4, 1e300])
  second = jax.grad(lambda x: rule(x, d_out=jnp.ones_like(x)).sum())(x)
  assert np.isfinite(second).all()
  np.testing.assert_allclose(np.delete(second, [4, 5]), 0, atol=1e-3)


@pytest.mark.parametrize(
    "rule, reference",
    [
        (activations.relu_vjp, jax.nn.relu),
        (activations.log1p_relu_vjp, lambda x: jnp.log1p(jax.nn.relu(x))),
    ],
    ids=["relu", "log1p_relu"],
)
@eager_and_jit
def test_the_derivative_at_the_kink_is_0_as_in_jax(rule, reference, compile_):
  x, d_out = jnp.asarray([-0.0, 0.0]), jnp.asarray([3.0, 5.0])
  np.testing.assert_array_equal(compile_(rule)(x, d_out=d_out), 0)
  np.testing.assert_array_equal(jax.vjp(reference, x)[1](d_out)[0], 0)
  tiny = jnp.asarray([-1e-30, 1e-30])
  np.testing.assert_array_equal(compile_(rule)(tiny, d_out=d_out), [0, 5])


def test_relu_stops_even_an_infinite_cotangent():
  d_x = activations.relu_vjp(jnp.asarray([-1.0, 1.0]), d_out=jnp.asarray([jnp.inf, jnp.inf]))
  np.testing.assert_array_equal(d_x, [0, jnp.inf])


@eager_and_jit
def test_sigmoid_is_accurate_in_both_tails(compile_):
  x = jnp.asarray([-40.0, -20.0, 20.0, 40.0])
  d_x = compile_(activations.sigmoid_vjp)(x, d_out=jnp.ones(4))
  np.testing.assert_allclose(d_x, np.exp([-40.0, -20, -20, -40]), rtol=1e-5)


@eager_and_jit
def test_gelu_is_accurate_in_the_left_tail(compile_):
  x = -10.0
  d_x = compile_(gelu_exact)(jnp.asarray([x]), d_out=jnp.ones(1))
  expected = math.erfc(-x / math.sqrt(2)) / 2 + x * math.exp(-50) / math.sqrt(2 * math.pi)
  np.testing.assert_allclose(d_x, expected, rtol=1e-4)


@pytest.mark.parametrize("form", [{}, {"approximate": True}, {"approximate": False}], ids=str)
def test_gelu_has_the_forms_and_the_default_of_jax(x64, form):
  x = jnp.linspace(-4, 4, 33)
  expected = jax.vjp(lambda x: jax.nn.gelu(x, **form), x)[1](jnp.ones(33))[0]
  actual = activations.gelu_vjp(x, d_out=jnp.ones(33), **form)
  np.testing.assert_allclose(actual, expected, rtol=1e-11, atol=1e-12)
  other = activations.gelu_vjp(
      x, d_out=jnp.ones(33), approximate=not form.get("approximate", True)
  )
  assert np.abs(other - actual).max() > 1e-4


@each_rule
def test_a_cotangent_of_the_wrong_shape_or_dtype_is_reported(name):
  rule = RULES[name][0]
  with pytest.raises(ValueError, match=r"d_out: expected shape \(2, 3\), got \(3,\)"):
    rule(jnp.ones((2, 3)), d_out=jnp.ones(3))
  with pytest.raises(ValueError, match="d_out: expected dtype float32, got bfloat16"):
    jax.jit(rule)(jnp.ones(3), d_out=jnp.ones(3, jnp.bfloat16))
