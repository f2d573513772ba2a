"""What an answer rests on: integrated gradients."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def integrated_gradients(
    f: Callable[[Array], Array],
    x: Float[Array, "..."],
    baseline: Float[Array, "..."],
    *,
    steps: int = 64,
) -> Float[Array, "..."]:
  """Shares f(x) - f(baseline) out over the elements of x.

  a_i = (x_i - s_i) * integral over t from 0 to 1 of (df / dx_i)(s + t (x - s))

  by the midpoint rule. sum_i a_i = f(x) - f(baseline) as the steps grow, and an element that
  f does not depend on gets 0; a plain gradient has neither of the two where f is flat.

  Args:
    f: to be explained; gives a scalar.
    x: where it is explained.
    baseline: of x's shape, an input that says nothing.
    steps: of the rule.

  Source: Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks" (2017),
    equation 1.
  """
  gradient = jax.grad(f)

  def add(total, t):
    return total + gradient(baseline + t * (x - baseline)), None

  positions = (jnp.arange(steps) + 0.5) / steps
  total, _ = jax.lax.scan(add, jnp.zeros_like(x), positions.astype(x.dtype))
  return (x - baseline) * total / steps
