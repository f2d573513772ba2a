"""Fine-tuning: loading pretrained parameters, freezing, layer-wise learning rates."""

from collections.abc import Callable
import re

import jax
import optax

import dlx
from dlx.errors import UserError
from dlx.experiment import Task
from dlx.training.state import PyTree


def _name(path: tuple) -> str:
  """A leaf's path as "recurrent.0.hidden"."""
  return jax.tree_util.keystr(path, simple=True, separator=".")


def open_run(source: str, experiment: str):
  """The run `source`, which has to be one of `experiment`.

  Raises:
    UserError: it is no run, or one of another experiment.
  """
  run = dlx.load_run(source)
  if run.config.experiment != experiment:
    raise UserError(
        f"{source} is a run of {run.config.experiment}; init_from expects one of {experiment}"
    )
  return run


def load_pretrained(
    initial: PyTree,
    pretrained: PyTree,
    source: str,
    *,
    head: str = "head",
    new_params: str | None = None,
) -> PyTree:
  """`initial` with the leaves of `pretrained`.

  Args:
    initial: the params of a new run.
    pretrained: the params of another run.
    source: that run's name, for messages.
    head: the top-level key whose shapes may differ, for other classes; then all of it keeps its
      initial values.
    new_params: a pattern in the names of parameters that only the new run needs to have.

  Raises:
    UserError: another leaf is missing on either side or differs in shape.
  """
  old = {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(pretrained)}
  new = {_name(path): leaf for path, leaf in jax.tree.leaves_with_path(initial)}
  in_head = {name for name in old.keys() | new.keys() if name.split(".")[0] == head}
  differing = sorted(
      name
      for name in old.keys() | new.keys()
      if getattr(old.get(name), "shape", None) != getattr(new.get(name), "shape", None)
  )
  added = {
      name for name in new.keys() - old.keys() if new_params and re.search(new_params, name)
  }
  body = [name for name in differing if name not in in_head | added]
  if body:
    name = body[0]
    shapes = [str(tree[name].shape) if name in tree else "absent" for tree in (old, new)]
    raise UserError(
        f"{source} is a run of another architecture: {len(body)} parameters differ, the first is "
        f"{name} ({shapes[0]} there, {shapes[1]} here)"
    )
  kept = added | (in_head if set(differing) - added else set())
  return jax.tree.map_with_path(
      lambda path, leaf: leaf if _name(path) in kept else old[_name(path)], initial
  )


def freeze_others(task: Task) -> Task:
  """The task whose loss_fn and optimizer leave all but the params with `task.is_trained` alone."""

  def loss_fn(variables, batch, rng):
    params = freeze(variables["params"], task.is_trained)
    return task.loss_fn({**variables, "params": params}, batch, rng)

  return task._replace(loss_fn=loss_fn, optimizer=train_only(task.optimizer, task.is_trained))


def train_only(
    optimizer: optax.GradientTransformation, is_trained: Callable[[str], bool]
) -> optax.GradientTransformation:
  """The optimizer for the leaves with `is_trained(name)`; the others are frozen.

  Frozen leaves have no moments in the optimizer's state, no weight decay, and no part in the
  clipped gradient norm.
  """

  def labels(params):
    return jax.tree.map_with_path(
        lambda path, _: "trained" if is_trained(_name(path)) else "frozen", params
    )

  return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def freeze(params: PyTree, is_trained: Callable[[str], bool]) -> PyTree:
  """The params with stop_gradient on the leaves that `train_only` freezes.

  In a loss function, this avoids the computation of unused gradients.
  """
  return jax.tree.map_with_path(
      lambda path, p: p if is_trained(_name(path)) else jax.lax.stop_gradient(p), params
  )


def layerwise_lr_decay(
    optimizer: optax.GradientTransformation, factor_of: Callable[[str], float]
) -> optax.GradientTransformation:
  """The optimizer with the updates of each leaf times `factor_of(name)`.

  After Adam this is a learning rate per leaf, which scales the weight decay too. Lower learning
  rates in early layers reduce forgetting.

  Source: Howard and Ruder, "Universal language model fine-tuning for text classification"
    (2018), section 3.2.
  """

  def update(updates, state, params=None):
    scaled = jax.tree.map_with_path(lambda path, u: factor_of(_name(path)) * u, updates)
    return scaled, state

  scale = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
  return optax.chain(optimizer, scale)
