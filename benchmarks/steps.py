"""Calls that run several steps, forward or training with Adam, in JAX and in PyTorch."""

from collections.abc import Callable
import functools
import time

import jax
from jax import lax
import jax.numpy as jnp
import optax

try:
  import torch
except ImportError:
  torch = None

LEARNING_RATE = 1e-3
MEASUREMENTS = ("forward", "training")


def jax_call(loss_fn: Callable, params: dict, batches, measurement: str):
  """A call that runs a step on each batch, and the seconds that compiling it took.

  Args:
    loss_fn: `loss_fn(params, batch) -> loss`.
    params: initial parameters.
    batches: arrays whose first dimension is the step.
    measurement: "forward" for the loss, "training" for loss, gradients and an update.
  """
  optimizer = optax.adam(LEARNING_RATE)

  def step(state, batch):
    params, opt_state = state
    if measurement == "forward":
      return state, loss_fn(params, batch)
    loss, grads = jax.value_and_grad(loss_fn)(params, batch)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), opt_state), loss

  params = jax.tree.map(jnp.array, params)  # A copy, because the state is donated.
  state = params, optimizer.init(params)
  steps = jax.jit(functools.partial(lax.scan, step), donate_argnums=0)
  start = time.perf_counter()
  compiled = steps.lower(state, batches).compile()
  seconds = time.perf_counter() - start

  def call():
    nonlocal state
    state, _ = jax.block_until_ready(compiled(state, batches))

  return call, seconds


def torch_call(parameters, loss_fn: Callable, batches, measurement: str):
  """The same for PyTorch, without compilation.

  Args:
    parameters: the parameters of the model.
    loss_fn: `loss_fn(batch) -> loss`.
    batches, measurement: as for jax_call.
  """
  optimizer = torch.optim.Adam(parameters, lr=LEARNING_RATE)

  def call():
    with torch.inference_mode(measurement == "forward"):
      for batch in batches:
        loss = loss_fn(batch)
        if measurement == "training":
          optimizer.zero_grad()
          loss.backward()
          optimizer.step()

  return call, 0.0
