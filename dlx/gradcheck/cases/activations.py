"""The activation functions and their rules, elementwise over any shape."""

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import LEADING, Case, Mistake
from dlx.gradients import activations as gradients

SIZES = {"batch": LEADING, "n": (4, 1, 7)}


def _draw(rng, batch, n, **options):
  """Numbers of both signs and several sizes, none within 0.1 of the corner at 0."""
  x = 2 * rng.normal(size=(*batch, n))
  return (x + 0.1 * np.sign(x),), options


def _log1p_relu(x):
  return jnp.log1p(jax.nn.relu(x))


def _case(name, formula, plain, rule, mistakes, **choices):
  return Case(
      name=f"activations.{name}",
      formula=formula,
      plain=plain,
      rule=rule,
      draw=_draw,
      sizes={**SIZES, **choices},
      typical={"batch": (512,), "n": 1024, **{key: values[0] for key, values in choices.items()}},
      batched=(True,),
      mistakes=tuple(Mistake(*mistake) for mistake in mistakes),
  )


CASES = [
    _case(
        "sigmoid",
        "s(x) = 1/(1 + e^-x): s' = s(x) s(-x)",
        jax.nn.sigmoid,
        gradients.sigmoid_vjp,
        [
            ("no factor 1 - s", "d_out * _sigmoid(x) * _sigmoid(-x)", "d_out * _sigmoid(x)"),
            ("no factor s", "d_out * _sigmoid(x) * _sigmoid(-x)", "d_out * _sigmoid(-x)"),
            ("the sign of the whole", "return d_out", "return -d_out"),
            ("1 + s in place of 1 - s", "* _sigmoid(-x)", "* (1 + _sigmoid(x))"),
        ],
    ),
    _case(
        "tanh",
        "t = tanh x: t' = 1 - t^2",
        jnp.tanh,
        gradients.tanh_vjp,
        [
            ("1 + t^2", "(1 - t * t)", "(1 + t * t)"),
            ("t not squared", "(1 - t * t)", "(1 - t)"),
            ("1 dropped", "(1 - t * t)", "(-t * t)"),
            ("x in place of t", "t = jnp.tanh(x)", "t = x"),
        ],
    ),
    _case(
        "relu",
        "y = max(x, 0): y' = [x > 0]",
        jax.nn.relu,
        gradients.relu_vjp,
        [
            ("passes where x is negative", "jnp.where(x > 0", "jnp.where(x < 0"),
            ("the mask of the cotangent, not of x", "jnp.where(x > 0", "jnp.where(d_out > 0"),
            ("a leak", "jnp.zeros_like(d_out)", "0.01 * d_out"),
        ],
    ),
    _case(
        "softplus",
        "y = log(1 + e^x): y' = s(x)",
        jax.nn.softplus,
        gradients.softplus_vjp,
        [
            ("s(-x)", "_sigmoid(x)", "_sigmoid(-x)"),
            ("s' in place of s", "_sigmoid(x)", "_sigmoid(x) * _sigmoid(-x)"),
        ],
    ),
    _case(
        "silu",
        "y = x s(x): y' = s(x) + x s(x) s(-x)",
        jax.nn.silu,
        gradients.silu_vjp,
        [
            ("the first term dropped", "(s + x * s * _sigmoid(-x))", "(x * s * _sigmoid(-x))"),
            ("the second term dropped", "(s + x * s * _sigmoid(-x))", "s"),
            ("the second term's sign", "(s + x * s", "(s - x * s"),
            ("x dropped", "(s + x * s", "(s + s"),
            ("s dropped", "+ x * s * _sigmoid(-x)", "+ x * _sigmoid(-x)"),
            ("1 - s dropped", "+ x * s * _sigmoid(-x)", "+ x * s"),
            ("cut too early", "-1000, 1000", "-1, 1"),
        ],
    ),
    _case(
        "gelu",
        "y = x F(x): y' = F + x f; tanh form: (1 + t)/2 + x (1 - t^2) u'/2",
        jax.nn.gelu,
        gradients.gelu_vjp,
        [
            ("exact: x f dropped", "(distribution + x * density)", "distribution"),
            ("exact: F dropped", "(distribution + x * density)", "(x * density)"),
            ("exact: x dropped in x f", "distribution + x * density", "distribution + density"),
            ("exact: the density's 1/sqrt(2 pi)", " / math.sqrt(2 * math.pi)\n", "\n"),
            ("exact: the density's 1/2", "jnp.exp(-x * x / 2)", "jnp.exp(-x * x)"),
            ("exact: x not over sqrt 2", "-x * math.sqrt(0.5)", "-x"),
            ("exact: the distribution's 1/2", "lax.erfc(-x * math.sqrt(0.5)) / 2",
             "lax.erfc(-x * math.sqrt(0.5))"),
            ("tanh: the first term dropped", "((1 + t) / 2 + x", "(x"),
            ("tanh: the second term dropped", "x * (1 - t * t) * d_u / 2", "0"),
            ("tanh: tanh' dropped", "x * (1 - t * t) * d_u", "x * d_u"),
            ("tanh: u' dropped", "* d_u / 2", "/ 2"),
            ("tanh: no c in u'", "d_u = c * ", "d_u = "),
            ("tanh: the 3 in u'", "1 + 3 * a", "1 + a"),
            ("tanh: x not squared in u'", "3 * a * x * x", "3 * a * x"),
            ("tanh: no c in u", "jnp.tanh(c * ", "jnp.tanh("),
            ("tanh: no cube in u", "(x + a * x * x * x)", "x"),
            ("cut too early", "-40, 40", "-1, 1"),
        ],
        approximate=(True, False),
    ),
    _case(
        "log1p_relu",
        "y = log(1 + max(x, 0)): y' = [x > 0]/(1 + x)",
        _log1p_relu,
        gradients.log1p_relu_vjp,
        [
            ("relu's factor dropped", "jnp.zeros_like(d_out)", "d_out / (1 + r)"),
            ("the logarithm's factor dropped", "d_out / (1 + r)", "d_out"),
            ("the 1 dropped", "d_out / (1 + r)", "d_out / (1e-30 + r)"),
            ("passes where x is negative", "where(x > 0", "where(x < 0"),
        ],
    ),
]
