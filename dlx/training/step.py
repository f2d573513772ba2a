"""The training step, and many of them as one compiled call."""

from collections.abc import Callable
import functools

import jax
from jax import lax
import jax.numpy as jnp
import optax

from dlx.experiment import Rngs
from dlx.training import optimizers, sharding
from dlx.training.state import State, update_ema


def make_step(
    loss_fn: Callable,
    batch_fn: Callable,
    optimizer: optax.GradientTransformation,
    *,
    seed: int,
    mesh: jax.sharding.Mesh,
    ema_decay: float | None,
    is_trained: Callable[[str], bool] | None = None,
) -> Callable:
  """Builds `step(state, train) -> (state, metrics)`.

  Args:
    loss_fn, batch_fn: see dlx.experiment.Task. Their keys are functions of (seed, step), so a
      step is a function of the state, the data and the seed.
    optimizer: an optax transformation.
    seed: of all random numbers in training.
    mesh: the devices, with the axes of `sharding.make_mesh`.
    ema_decay: of the averaged params; None when State.ema is None.
    is_trained: see dlx.experiment.Task; the others have no average.

  Returns:
    The step. Its metrics are those of loss_fn, with loss and grad_norm added.

  Raises:
    ValueError: when traced, if loss_fn updates a collection that the state does not have.
  """

  @jax.jit  # Traced once, for the check of shapes and for the loop around it.
  def step(state: State, train) -> tuple[State, dict]:
    rng = jax.random.fold_in(jax.random.key(seed), state.step)
    batch_rng, loss_rng = jax.random.split(rng)
    run_rng = jax.random.fold_in(jax.random.key(seed), 2**31)  # No step has this number.
    batch = batch_fn(train, state.step, Rngs(run_rng, batch_rng))
    batch = sharding.shard_batch(batch, mesh)

    def loss_of(params):
      loss = loss_fn({**state.collections, "params": params}, batch, loss_rng)
      return loss.value, (loss.metrics, loss.updated)

    value_and_grad = jax.value_and_grad(loss_of, has_aux=True)
    (value, (metrics, updated)), grads = value_and_grad(sharding.all_gather(state.params, mesh))
    if unknown := updated.keys() - state.collections.keys():
      raise ValueError(f"loss_fn: updates {sorted(unknown)}, which init_fn did not create")
    grads = sharding.shard_grads(grads, mesh)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = state.ema
    if ema is not None:
      ema = update_ema(ema, params, state.step, ema_decay, is_trained)
    state = State(state.step + 1, params, {**state.collections, **updated}, opt_state, ema)
    return state, {**metrics, "loss": value, "grad_norm": optimizers.global_norm(grads)}

  return step


def make_steps(
    step: Callable,
    mesh: jax.sharding.Mesh,
    shardings: State | None = None,
    *,
    max_count: int | None = None,
) -> Callable:
  """Compiles `steps(state, train, count) -> (state, metrics)`: `count` steps in one call.

  They run inside one loop, so the host is involved only between calls. The memory of the given
  state is donated.

  Args:
    step: see `make_step`.
    mesh: the devices.
    shardings: of every leaf of the state; replicated when None.
    max_count: None to compile a lax.scan for every count; the first dimension of the metrics is
      then the steps. Otherwise count is an array, one program runs any count up to this one, and
      its metrics have max_count rows, of which the first `count` are used. On a GPU the host
      would wait for every step of such a loop.
  """
  replicated = sharding.replicated(mesh)
  static = {"static_argnums": 2} if max_count is None else {}

  @functools.partial(
      jax.jit,
      donate_argnums=0,
      out_shardings=(replicated if shardings is None else shardings, replicated),
      **static,
  )
  def steps(state, train, count):
    if max_count is None:
      return lax.scan(lambda s, _: step(s, train), state, None, length=count)

    def one_more(i, carry):
      state, metrics = step(carry[0], train)
      return state, jax.tree.map(lambda rows, row: rows.at[i].set(row), carry[1], metrics)

    shapes = jax.eval_shape(step, state, train)[1]
    metrics = jax.tree.map(lambda x: jnp.zeros((max_count, *x.shape), x.dtype), shapes)
    return lax.fori_loop(0, count, one_more, (state, metrics))

  return steps


def is_finite(metrics: dict) -> jnp.ndarray:
  """For each step of `make_steps`, whether loss and gradient were finite."""
  return jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
