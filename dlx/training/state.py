"""The state of a training run: everything that a step reads and writes."""

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
    step: int32, the number of steps taken. The random key of a step is folded from
      it, so no key is stored.
    params: what the optimizer changes.
    variables: what the loss function carries from step to step without a gradient
      (batch statistics, the state of a stream); {} when there is none.
    opt_state: the optimizer's.
    ema: averaged params, or None when averaging is off.
  """

  step: jax.Array
  params: PyTree
  variables: PyTree
  opt_state: PyTree
  ema: PyTree

  @property
  def eval_params(self) -> PyTree:
    """The params to evaluate with: the averaged ones where there are any."""
    return self.params if self.ema is None else self.ema


def path_name(path: tuple) -> str:
  """A leaf's path in words: "recurrent.0.hidden"."""
  return ".".join(str(getattr(key, "key", getattr(key, "idx", key))) for key in path)


def create(
    params: PyTree,
    optimizer: optax.GradientTransformation,
    *,
    variables: PyTree | None = None,
    averaged: bool = False,
) -> State:
  """The state before the first step; the average starts as the params."""
  return State(
      step=jnp.zeros((), jnp.int32),
      params=params,
      variables={} if variables is None else variables,
      opt_state=optimizer.init(params),
      ema=jax.tree.map(jnp.copy, params) if averaged else None,
  )


def update_ema(ema: PyTree, params: PyTree, step: jax.Array, decay: float) -> PyTree:
  """Exponential moving average of the params, e' = d e + (1 - d) p.

  d = min(decay, (1 + step) / (10 + step)), so that the first, poor params are
  forgotten quickly: after t steps the average reaches back about t/9 steps until that
  is longer than 1 / (1 - decay).

  Source: Polyak and Juditsky (1992) for averaging; the warm-up is TensorFlow's
    ExponentialMovingAverage.
  """
  d = jnp.minimum(decay, (1 + step) / (10 + step))
  return jax.tree.map(lambda e, p: (d * e + (1 - d) * p).astype(e.dtype), ema, params)
