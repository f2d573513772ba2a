"""Starting from the parameters of another run, and training some of them, or some less."""

from collections.abc import Callable

import jax
import optax

from dlx.errors import UserError
from dlx.training.state import PyTree, path_name


def transfer(
    fresh: PyTree, pretrained: PyTree, source: str, *, head: str = "head", added: str | None = None
) -> PyTree:
  """`fresh` with the leaves of `pretrained`.

  Args:
    fresh: what the new run would start from.
    pretrained: of another run.
    source: that run's name, for messages.
    head: the top-level key of what may differ in shape, for other classes; where it
      does, all of it stays fresh.
    added: a word in the names of parameters that only the new run needs to have.

  Raises:
    UserError: another leaf is missing on either side or differs in shape.
  """
  old = {path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(pretrained)}
  new = {path_name(path): leaf for path, leaf in jax.tree.leaves_with_path(fresh)}
  of_head = {name for name in old.keys() | new.keys() if name.split(".")[0] == head}
  differing = sorted(
      name
      for name in old.keys() | new.keys()
      if getattr(old.get(name), "shape", None) != getattr(new.get(name), "shape", None)
  )
  new_here = {name for name in new.keys() - old.keys() if added and added in name}
  body = [name for name in differing if name not in of_head | new_here]
  if body:
    name = body[0]
    shapes = [str(tree[name].shape) if name in tree else "absent" for tree in (old, new)]
    raise UserError(
        f"config.init_from={source} is a run of another architecture: {len(body)} parameters "
        f"differ, the first is {name} ({shapes[0]} there, {shapes[1]} here)"
    )
  kept = new_here | (of_head if set(differing) - new_here else set())
  return jax.tree.map_with_path(
      lambda path, leaf: leaf if path_name(path) in kept else old[path_name(path)], fresh
  )


def only(
    optimizer: optax.GradientTransformation, is_trained: Callable[[str], bool]
) -> optax.GradientTransformation:
  """The optimizer for the leaves with `is_trained(path_name)`; all others stay as they are.

  Frozen leaves have no moments in the optimizer's state, no decay, and no part in the
  bound on the gradient's norm.
  """

  def labels(params):
    return jax.tree.map_with_path(
        lambda path, _: "trained" if is_trained(path_name(path)) else "frozen", params
    )

  return optax.multi_transform({"trained": optimizer, "frozen": optax.set_to_zero()}, labels)


def frozen(params: PyTree, is_trained: Callable[[str], bool]) -> PyTree:
  """The params, without a gradient for the leaves that `only` would leave as they are.

  For a loss function: no time goes into gradients that nobody uses.
  """
  return jax.tree.map_with_path(
      lambda path, p: p if is_trained(path_name(path)) else jax.lax.stop_gradient(p), params
  )


def slower(
    optimizer: optax.GradientTransformation, factor_of: Callable[[str], float]
) -> optax.GradientTransformation:
  """The optimizer with the updates of each leaf times `factor_of(path_name)`.

  After Adam this is a learning rate for each leaf; the decay goes with it. Smaller rates
  for lower blocks keep what a pretrained network knows about words.

  Source: Howard and Ruder, "Universal language model fine-tuning for text classification"
    (2018), section 3.2.
  """

  def update(updates, state, params=None):
    del params
    scaled = jax.tree.map_with_path(lambda path, u: factor_of(path_name(path)) * u, updates)
    return scaled, state

  scale = optax.GradientTransformation(lambda params: optax.EmptyState(), update)
  return optax.chain(optimizer, scale)
