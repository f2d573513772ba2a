"""Whether a run's checkpoints fit the model and the optimizer of a config."""

import pathlib
from typing import Any

import jax

from dlx.errors import UserError
from dlx.runs import object_storage
from dlx.runs.checkpoints import Checkpoints


def check(workdir: pathlib.Path, state: Any) -> None:
  """Compares the newest whole checkpoint with the state that would be restored from it.

  A checkpoint that does not fit is not corrupted: it stays where it is.

  Args:
    workdir: of a run.
    state: its state now, with arrays or jax.ShapeDtypeStruct as leaves.

  Raises:
    UserError: a leaf is missing on either side or differs in shape; the message names one.
  """
  expected = _shapes(state)
  with Checkpoints(object_storage.checkpoints(workdir), read_only=True) as checkpoints:
    for step in reversed(checkpoints.steps):
      try:
        found = _shapes(checkpoints.metadata(step))
      except Exception:  # Orbax raises many types. `restore_latest` deals with what is corrupted.
        continue
      differing = [k for k in {**expected, **found} if expected.get(k) != found.get(k)]
      if differing and checkpoints.difference(step):
        continue
      if differing:
        name = differing[0]
        there, here = (shapes.get(name, "absent") for shapes in (found, expected))
        raise UserError(
            f"workdir {workdir} is a run with another model or optimizer: {name} is {there} in its "
            f"checkpoint {step} and {here} with this config; name another folder"
        )
      return


def has_checkpoint(workdir: pathlib.Path) -> bool:
  """Whether a run has a checkpoint that is as it was saved."""
  with Checkpoints(object_storage.checkpoints(workdir), read_only=True) as checkpoints:
    return any(checkpoints.difference(step) is None for step in checkpoints.steps)


def _shapes(tree: Any) -> dict[str, tuple[int, ...]]:
  return {
      jax.tree_util.keystr(path, simple=True, separator="."): tuple(leaf.shape)
      for path, leaf in jax.tree.leaves_with_path(tree)
  }
