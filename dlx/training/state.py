"""The state of a training run: everything that a step reads and writes."""

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

PyTree = Any


@flax.struct.dataclass
class State:
  """A value: a step takes one and returns the next.

  Attributes:
    step: int32, the number of steps taken. The random key of a step is folded from it, so no
      key is stored.
    params: what the optimizer changes.
    collections: the other collections of the model's variables, which change without a
      gradient (batch statistics, a recurrent carry); {} when there are none.
    opt_state: the optimizer's state.
    ema: averaged params; None without averaging.
  """

  step: jax.Array
  params: PyTree
  collections: PyTree
  opt_state: PyTree
  ema: PyTree

  @property
  def eval_variables(self) -> dict:
    """The variables for evaluation, with the averaged params if there are any."""
    return {**self.collections, "params": self.params if self.ema is None else self.ema}


def create(
    variables: dict, optimizer: optax.GradientTransformation | None, *, averaged: bool = False
) -> State:
  """The state before the first step; the average starts as the params.

  Args:
    variables: {"params": ..., other collections}.
    optimizer: None when there will be no step.
    averaged: keep an average of the params.
  """
  collections = dict(variables)
  params = collections.pop("params")
  return State(
      step=jnp.zeros((), jnp.int32),
      params=params,
      collections=collections,
      opt_state=() if optimizer is None else optimizer.init(params),
      ema=jax.tree.map(jnp.copy, params) if averaged else None,
  )


def update_ema(
    ema: PyTree,
    params: PyTree,
    step: jax.Array,
    decay: float,
    is_trained: Callable[[str], bool] | None = None,
) -> PyTree:
  """Exponential moving average of the params, e' = d e + (1 - d) p.

  d = min(decay, (1 + step) / (10 + step)), so that the first params are forgotten quickly:
  after t steps the average covers about t/9 steps until that exceeds 1 / (1 - decay). Params
  that are not trained are their own average, without its rounding.

  Source: Polyak and Juditsky (1992) for averaging; the warm-up is TensorFlow's
    ExponentialMovingAverage.
  """
  d = jnp.minimum(decay, (1 + step) / (10 + step))

  def average(path, e, p):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    return (d * e + (1 - d) * p).astype(e.dtype) if is_trained is None or is_trained(name) else p

  return jax.tree.map_with_path(average, ema, params)
