"""A finished or unfinished run, opened from its workdir."""

import dataclasses
import importlib
import pathlib
from types import ModuleType
from typing import Any

from etils import epath
import ml_collections

from dlx.errors import UserError
from dlx.runs import object_storage
from dlx.runs import workdir as workdirs
from dlx.runs.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Run:
  """A workdir with its config and the experiment that made it.

  Attributes:
    workdir: the folder.
    config: its config.
    experiment: the experiment's module, with `evaluate(run, split)` and, where they
      make sense, `sample` and `predict`.
    step: the checkpoint's step.
    params: its parameters, averaged ones where the run averages.
    variables: what the loss carries beside them, such as batch norm's statistics.
  """

  workdir: pathlib.Path
  config: ml_collections.ConfigDict
  experiment: ModuleType
  step: int
  params: Any
  variables: Any


def experiment(config: ml_collections.ConfigDict) -> ModuleType:
  """The module `experiment.py` of the package that the config names.

  Raises:
    UserError: it cannot be imported.
  """
  name = f"{config.experiment}.experiment"
  try:
    return importlib.import_module(name)
  except ModuleNotFoundError as e:
    raise UserError(f"the experiment {name} cannot be imported: {e}") from None


def load(workdir: str | pathlib.Path, *, checkpoint: str = "best") -> Run:
  """Opens a run from its checkpoints; dlx.load_run opens an exported folder, too.

  Args:
    workdir: the folder of a run.
    checkpoint: "best" by the validation metric, or "latest".

  Raises:
    UserError: workdir is not a run or has no checkpoint yet.
  """
  if checkpoint not in ("best", "latest"):
    raise UserError(f'checkpoint {checkpoint!r} is neither "best" nor "latest"')
  workdir = object_storage.open_to_read(workdir) if object_storage.is_address(workdir) else pathlib.Path(workdir)
  config = workdirs.read_config(workdir)
  place = epath.Path(object_storage.checkpoints(workdir))
  if not place.is_dir():
    raise UserError(f"--workdir={workdir} has no checkpoint yet; train it first")
  with Checkpoints(place, read_only=True) as checkpoints:
    if not checkpoints.steps:
      raise UserError(f"--workdir={workdir} has no checkpoint yet; train it first")
    step = checkpoints.best if checkpoint == "best" else None
    step = checkpoints.steps[-1] if step is None else step
    state = checkpoints.restore(step)
  params = state["params"] if config.training.ema_decay is None else state["ema"]
  return Run(workdir, config, experiment(config), step, params, state.get("variables") or {})
