"""Attribution of a model's output to its inputs: integrated gradients."""

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
  """Attributes f(x) - f(baseline) to the elements of x.

  a_i = (x_i - s_i) * integral over t from 0 to 1 of (df / dx_i)(s + t (x - s))

  with the baseline s, by the midpoint rule. sum_i a_i approaches f(x) - f(s) as the number of
  steps grows, also where f is saturated and its gradient is 0. An element that f does not
  depend on gets 0.

  Args:
    f: the function to explain, with a scalar output.
    x: the input to explain.
    baseline: a neutral input, of x's shape.
    steps: number of steps of the midpoint rule.

  Source: Sundararajan, Taly, Yan, "Axiomatic attribution for deep networks" (2017),
    equation 1.
  """
  gradient = jax.grad(f)

  def add(total, t):
    return total + gradient(baseline + t * (x - baseline)), None

  positions = (jnp.arange(steps) + 0.5) / steps
  total, _ = jax.lax.scan(add, jnp.zeros_like(x), positions.astype(x.dtype))
  return (x - baseline) * total / steps
