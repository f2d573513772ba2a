"""The minimum of a smooth function of all examples, by L-BFGS."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PyTree
import optax


class Minimum(NamedTuple):
  """The result of `minimize`: params, the number of steps and the norm of the last gradient."""

  params: PyTree[Float[Array, "..."]]
  steps: Int[Array, ""]
  gradient_norm: Float[Array, ""]


def minimize(
    objective: Callable[..., Float[Array, ""]],
    params: PyTree[Float[Array, "..."]],
    given: Mapping[str, Any] | None = None,
    *,
    max_steps: int = 200,
    tolerance: float = 1e-5,
) -> Minimum:
  """Minimizes `objective(params, **given)` by L-BFGS with a zoom line search.

  A step is along -H g, where g is the gradient and H the inverse Hessian that the last ten
  changes of params and g imply.

  Args:
    objective: smooth in its first argument.
    params: the start.
    given: the other arguments, such as the examples; passed to the compiled program, so that
      they are no constants of it.
    max_steps: the largest number of steps.
    tolerance: ends when the gradient's norm is below this, or the value falls no more; of float64
      the first is reached from the square root of its precision, 1.5e-8, on.

  Source: Liu and Nocedal, "On the limited memory BFGS method for large scale optimization"
    (1989).
  """
  solver = optax.lbfgs(memory_size=10)
  value_and_grad = optax.value_and_grad_from_state(objective)

  @jax.jit
  def run(params, given):
    def step(carry):
      params, state, progress = carry
      value, gradient = value_and_grad(params, state=state, **given)
      updates, state = solver.update(
          gradient, state, params, value=value, grad=gradient, value_fn=objective, **given
      )
      norm = optax.global_norm(optax.tree.get(state, "grad"))
      # At the limit of the precision, a line search finds no smaller value any more.
      is_smaller = optax.tree.get(state, "value") < value
      return optax.apply_updates(params, updates), state, (progress[0] + 1, norm, is_smaller)

    def goes_on(carry):
      steps, norm, is_smaller = carry[2]
      return (norm > tolerance) & is_smaller & (steps < max_steps)

    progress = jnp.zeros((), jnp.int32), jnp.asarray(jnp.inf), jnp.asarray(True)
    params, _, progress = lax.while_loop(goes_on, step, (params, solver.init(params), progress))
    return Minimum(params, *progress[:2])

  return run(params, dict(given or {}))
