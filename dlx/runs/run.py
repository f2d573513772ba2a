"""A finished or unfinished run, opened from its workdir."""

from collections.abc import Iterable, Iterator, Mapping
import contextlib
import dataclasses
import functools
import pathlib
from types import ModuleType
from typing import Any

from etils import epath
from flax.errors import FlaxError
import jax
import ml_collections
import numpy as np

import dlx
from dlx import presets
from dlx.errors import UserError
from dlx.experiment import Data, Task
from dlx.runs import assets as assets_lib
from dlx.runs import object_storage, points
from dlx.runs import workdir as workdirs
from dlx.runs.checkpoints import Checkpoints


@dataclasses.dataclass(frozen=True)
class Run:
  """A workdir, or an export of one; no data set is read to open it.

  Attributes:
    workdir: the folder.
    config: its config.
    step: the checkpoint's step.
    variables: of the model: {"params": ..., other collections}, the params averaged if the run
      averages them.
    assets: what the model needs besides its variables.
  """

  workdir: pathlib.Path
  config: ml_collections.ConfigDict
  step: int
  variables: dict[str, Any]
  assets: dict[str, Any]

  @property
  def params(self) -> Any:
    """The model's parameters."""
    return self.variables["params"]

  @property
  def experiment(self) -> ModuleType:
    """The experiment's module, with `load` and `make`."""
    return experiment(self.config)

  @functools.cached_property
  def task(self) -> Task:
    """The experiment's functions with this config and these assets.

    Raises:
      UserError: config, assets and variables do not belong together.
    """
    steps_per_epoch = workdirs.read_data(self.workdir).get("steps_per_epoch")
    config = presets.in_steps(self.config, steps_per_epoch)
    with self.blaming_assets():
      task = self.experiment.make(config, self.assets)
      expected = _initial_shapes(task)
    _check_variables(self, task, expected)
    return task

  @contextlib.contextmanager
  def blaming_assets(self) -> Iterator[None]:
    """Raises errors of code that reads the assets as UserError, the error itself as its cause.

    Training runs the same code with assets of its own making, and shows its errors as they are.
    So for a run that is opened, the assets are what differs.
    """
    try:
      yield
    except UserError:
      raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, FlaxError) as e:
      reason = f"{type(e).__name__}: {' '.join(str(e).split())[:150]}"
      raise UserError(
          f"the assets in {self.workdir} are not those of {self.config.experiment} ({reason}); "
          f"restore them from a copy"
      ) from e

  @property
  def eval_variables(self) -> dict[str, Any]:
    """The variables without the task's training_only collections."""
    return {k: v for k, v in self.variables.items() if k not in self.task.training_only}

  @property
  def metrics(self) -> dict[str, points.Points]:
    """(steps, values) of every metric of metrics.jsonl; {} for an export."""
    return points.read(self.workdir)

  def evaluate(self, split: str = "test") -> dict[str, float]:
    """The metrics of a split; see dlx.evaluate."""
    return dlx.evaluate(self, split)

  def predict(self, lines: str | Iterable[str], **options) -> list[str]:
    """One prediction per line; see dlx.predict."""
    return list(dlx.predict(self, [lines] if isinstance(lines, str) else lines, **options))

  def __repr__(self) -> str:
    count = sum(leaf.size for leaf in jax.tree.leaves(self.params))
    name = self.config.experiment
    return f"<Run {self.workdir} of {name}: step {self.step}, {count:,} parameters>"


class _NeedsData(Exception):
  """init_fn reads data that an opened run does not have."""


class _Absent(Mapping):
  """In place of training data, or of pretrained variables."""

  def __getitem__(self, name):
    raise _NeedsData

  def __iter__(self):
    raise _NeedsData

  def __len__(self):
    raise _NeedsData


def _initial_shapes(task: Task) -> dict | None:
  """The variables that init_fn gives, as jax.ShapeDtypeStruct; None if it needs the data."""

  def trace(pretrained):
    def init(rng):
      variables = task.init_fn(rng, Data(_Absent(), pretrained=pretrained))
      if any(isinstance(leaf, _Absent) for leaf in jax.tree.leaves(variables)):
        raise _NeedsData  # It returns pretrained variables, such as counts.
      return variables

    return jax.eval_shape(init, jax.random.key(0))

  try:
    return trace(None)
  except _NeedsData:
    return None
  except (AttributeError, TypeError, ValueError):
    # Either it cannot do without pretrained variables, which are unknown here, or it has failed.
    with contextlib.suppress(_NeedsData):
      trace(_Absent())
      raise
    return None


def _check_variables(run: Run, task: Task, expected: dict | None) -> None:
  """Raises UserError unless the variables have the names and shapes that init_fn gives."""
  if expected is None:
    return
  flat = {
      jax.tree_util.keystr(path, simple=True, separator="."): np.shape(leaf)
      for path, leaf in jax.tree.leaves_with_path(run.variables)
  }
  for path, leaf in jax.tree.leaves_with_path(expected):
    name = jax.tree_util.keystr(path, simple=True, separator=".")
    if name.split(".")[0] in task.training_only:
      continue
    if flat.get(name) != leaf.shape:
      found = "missing" if name not in flat else f"of shape {flat[name]}"
      raise UserError(
          f"the variables in {run.workdir} are not those of its config: {name} is {found}; "
          f"expected shape {leaf.shape}"
      )


def experiment(config: ml_collections.ConfigDict) -> ModuleType:
  """The module `experiment.py` of the package that the config names.

  Raises:
    UserError: it cannot be imported, or has no `load` or `make`.
  """
  module = presets.module_of(config, "experiment")
  for name in ("load", "make"):
    if not callable(getattr(module, name, None)):
      raise UserError(
          f"{module.__name__} has no function {name}; an experiment defines load(config, assets) "
          f"and make(config, assets)"
      )
  return module


def load(workdir: str | pathlib.Path, *, checkpoint: str = "best") -> Run:
  """Opens a run from its checkpoints; dlx.load_run opens an exported folder too.

  Args:
    workdir: the folder of a run.
    checkpoint: "best" by the validation metric, or "latest".

  Raises:
    UserError: workdir is not a run or has no checkpoint yet.
  """
  if checkpoint not in ("best", "latest"):
    raise UserError(f'checkpoint: expected "best" or "latest", got {checkpoint!r}')
  if object_storage.is_address(workdir):
    workdir = object_storage.open_to_read(workdir)
  workdir = pathlib.Path(workdir)
  config = workdirs.completed(workdir, workdirs.read_config(workdir))
  folder = epath.Path(object_storage.checkpoints(workdir))
  state = None
  if folder.is_dir():
    with Checkpoints(folder, read_only=True) as checkpoints:
      if checkpoints.steps:
        step = checkpoints.best if checkpoint == "best" else None
        step = checkpoints.steps[-1] if step is None else step
        state = checkpoints.restore(step)
  if state is None:
    raise UserError(f"workdir {workdir} has no checkpoint yet; train it first")
  params = state["params"] if config.training.ema_decay is None else state["ema"]
  variables = {**(state.get("collections") or {}), "params": params}
  return Run(workdir, config, step, variables, assets_lib.load(workdir))
