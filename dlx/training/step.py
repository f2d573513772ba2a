"""The training step, and many of them as one compiled call."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from dlx.training import sharding
from dlx.training.state import State, update_ema


def make_step(
    loss_fn: Callable,
    batch_fn: Callable,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    mesh: jax.sharding.Mesh,
    ema_decay: float | None,
) -> Callable:
  """Builds `step(state, data) -> (state, metrics)`.

  Args:
    loss_fn: `loss_fn(params, variables, batch, rng) -> (loss, (metrics, variables))`.
    batch_fn: `batch_fn(data, step, rng) -> batch`, whose arrays have the batch as
      first dimension. With the key folded from (seed, step), what it returns is a
      function of (seed, step) alone.
    optimizer: an optax transformation.
    seed: of all that is random in training.
    mesh: the devices, with the axes of `sharding.make_mesh`.
    ema_decay: of the averaged params; None when State.ema is None.

  Returns:
    The step. Its metrics are those of loss_fn, with loss and grad_norm added.
  """

  def step(state: State, data) -> tuple[State, dict]:
    rng = jax.random.fold_in(jax.random.key(seed), state.step)
    batch_rng, loss_rng = jax.random.split(rng)
    batch = sharding.split_batch(batch_fn(data, state.step, batch_rng), mesh)
    (loss, (metrics, variables)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
        sharding.gathered(state.params, mesh), state.variables, batch, loss_rng
    )
    grads = sharding.split_like_parameters(grads, mesh)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, params, state.step, ema_decay)
    state = State(state.step + 1, params, variables, opt_state, ema)
    return state, {**metrics, "loss": loss, "grad_norm": optax.global_norm(grads)}

  return step


def make_steps(
    step: Callable, mesh: jax.sharding.Mesh, placed: State | None = None
) -> Callable:
  """Compiles `steps(state, data, count) -> (state, metrics)`: `count` steps in one call.

  They run inside one lax.scan, so that the host is asked only between calls. The
  metrics have the steps as first dimension. The given state's memory is reused.

  Args:
    step: see `make_step`.
    mesh: the devices.
    placed: the sharding of every leaf of the state; copied to all devices when not given.
  """

  whole = sharding.replicated(mesh)

  @functools.partial(
      jax.jit,
      static_argnums=2,
      donate_argnums=0,
      out_shardings=(whole if placed is None else placed, whole),
  )
  def steps(state, data, count: int):
    return lax.scan(lambda s, _: step(s, data), state, None, length=count)

  return steps


def finite(metrics: dict) -> jnp.ndarray:
  """For each step of `make_steps`, whether loss and gradient were finite."""
  return jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
