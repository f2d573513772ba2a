"""The activation functions and their rules, elementwise over any shape."""

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck.case import LEADING, Case
from dlx.gradients import activations as gradients

SIZES = {"batch": LEADING, "n": (4, 1, 7)}
NONE, CORNER = {}, {"x > 0 -> x >= 0": "no input is 0"}


def _draw(rng, batch, n, **options):
  """Numbers of both signs and several sizes, none within 0.1 of the corner at 0."""
  x = 2 * rng.normal(size=(*batch, n))
  return (x + 0.1 * np.sign(x),), options


def _log1p_relu(x):
  return jnp.log1p(jax.nn.relu(x))


def _case(name, formula, reference, rule, *, equivalent=NONE, **choices):
  return Case(
      name=f"activations.{name}",
      formula=formula,
      reference=reference,
      rule=rule,
      draw=_draw,
      sizes={**SIZES, **choices},
      typical={"batch": (512,), "n": 1024, **{key: values[0] for key, values in choices.items()}},
      batched=(True,),
      equivalent=equivalent,
  )


CASES = [
    _case(
        "sigmoid",
        "s(x) = 1/(1 + e^-x): s' = s(x) s(-x)",
        jax.nn.sigmoid,
        gradients.sigmoid_vjp,
    ),
    _case(
        "tanh",
        "t = tanh x: t' = 1 - t^2",
        jnp.tanh,
        gradients.tanh_vjp,
    ),
    _case(
        "relu",
        "y = max(x, 0): y' = [x > 0]",
        jax.nn.relu,
        gradients.relu_vjp,
        equivalent=CORNER,
    ),
    _case(
        "softplus",
        "y = log(1 + e^x): y' = s(x)",
        jax.nn.softplus,
        gradients.softplus_vjp,
    ),
    _case(
        "silu",
        "y = x s(x): y' = s(x) + x s(x) s(-x)",
        jax.nn.silu,
        gradients.silu_vjp,
    ),
    _case(
        "gelu",
        "y = x F(x): y' = F + x f; tanh form: (1 + t)/2 + x (1 - t^2) u'/2",
        jax.nn.gelu,
        gradients.gelu_vjp,
        equivalent={"not approximate -> ": "the two forms differ by less than 1e-3"},
        approximate=(True, False),
    ),
    _case(
        "log1p_relu",
        "y = log(1 + max(x, 0)): y' = [x > 0]/(1 + x)",
        _log1p_relu,
        gradients.log1p_relu_vjp,
        equivalent=CORNER,
    ),
]
