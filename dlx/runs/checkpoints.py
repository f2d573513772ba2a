"""Checkpoints of a run: Orbax v1, asynchronous and atomic, the latest few and the best."""

from collections.abc import Callable
import contextlib
import functools
import json
import logging
import pathlib
import shutil
import threading
from typing import Any

from etils import epath
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from dlx.errors import UserError
from dlx.distributed import processes
from dlx.runs import checksums, object_storage

PyTree = Any

CRITERION = "criterion"  # The metric that chooses the best checkpoint.


class Checkpoints:
  """The checkpoints below a directory; a context manager that waits for the last save.

  Processes that train together all call every method, and save and restore each its part of
  the arrays; the first one alone looks after the files.

  A checkpoint is first written to a temporary folder and then renamed, so a process
  that is killed while saving leaves the ones before it whole.
  """

  def __init__(
      self,
      directory: str | pathlib.Path,
      *,
      keep: int = 2,
      warn: Callable[[str], None] = print,
      read_only: bool = False,
  ):
    """Opens (or makes) the directory.

    Args:
      directory: where checkpoints are, one folder a step.
      keep: how many of the latest stay; the best one stays besides.
      warn: is given one line for each checkpoint that turns out to be damaged.
      read_only: leave the unfinished folders of a save, which another process may be
        writing at this moment.
    """
    # Orbax logs a paragraph for every save, and errors that it also raises.
    logging.getLogger("absl").setLevel(logging.CRITICAL)
    # A failed read leaves tasks whose errors asyncio would print besides ours.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    self._remote = object_storage.is_address(directory)
    kind = epath.Path if self._remote else pathlib.Path
    self._directory = kind(directory) if self._remote else kind(directory).absolute()
    self._warn = warn
    self._recording, self._last_saved = threading.Lock(), None
    self._set_aside = int(self._seen_first(lambda: str(self._check_metrics(read_only))))
    self._checkpointer = self._open(keep, read_only)
    self._directory = kind(str(self._checkpointer.directory))

  def _open(self, keep: int, read_only: bool) -> ocp.training.Checkpointer:
    policies = ocp.training.preservation_policies
    return ocp.training.Checkpointer(
        self._directory,
        save_decision_policy=_EveryCall(),
        preservation_policy=policies.AnyPreservationPolicy([
            policies.LatestN(keep),
            policies.BestN(
                get_metric_fn=lambda metrics: _criterion(metrics, float("inf")),
                reverse=True,
                n=1,
                keep_checkpoints_without_metrics=False,
            ),
        ]),
        cleanup_tmp_directories=not read_only,
    )

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    with _as_oserror():
      self._checkpointer.close()
      self._record(self._last_saved)

  @property
  def steps(self) -> list[int]:
    """The steps of all checkpoints, in order."""
    return sorted(info.step for info in self._checkpointer.checkpoints)

  @property
  def best(self) -> int | None:
    """The step with the smallest CRITERION (the last of equal ones)."""
    scored = [
        (_criterion(info.metrics, float("inf")), -info.step)
        for info in self._checkpointer.checkpoints
        if info.metrics and _criterion(info.metrics, None) is not None
    ]
    return -min(scored)[1] if scored else None

  def save(self, step: int, tree: PyTree, metrics: dict[str, float] | None = None) -> None:
    """Starts a save; the arrays are copied before this returns, the files come later.

    Args:
      step: the checkpoint's name.
      tree: arrays in dicts, lists and dataclasses.
      metrics: of validation, when there was one at this step; the checkpoint with the least
        CRITERION (loss, where there is none) is the best.

    Raises:
      OSError: this save, or the one before it, failed.
    """
    # What was here before under this step must not be what the new files are judged by.
    if processes.is_first() and not self._remote:
      self._record_path(step).unlink(missing_ok=True)
    with _as_oserror():
      saving = self._checkpointer.save_async(step, tree, metrics=metrics)
    self._last_saved = step
    saving.on_complete(lambda _: self._record(step))

  def wait(self) -> None:
    """Returns when the last save is on disk.

    Raises:
      OSError: it failed.
    """
    with _as_oserror():
      self._checkpointer.wait()
      self._record(self._last_saved)

  def restore_latest(self, target: PyTree) -> PyTree | None:
    """The newest checkpoint that can be read, or None when there is none at all.

    A damaged one is said with one line and moved aside to "damaged-STEP" beside the
    directory, so that nothing is deleted and its step can be saved again.

    Args:
      target: a tree of jax.ShapeDtypeStruct with shardings; arrays come back placed
        so, on whatever devices there are now.

    Raises:
      UserError: there are checkpoints, and none can be read.
    """
    steps = self.steps
    for step in reversed(steps):
      reason = self._seen_first(functools.partial(self._damage, step))
      if reason is None:
        tree, reason = self._try_load(step, target)
        if reason is None:
          return tree
      self._move_aside(step)
      earlier = "continuing from the one before" if step != steps[0] else "none is left"
      self._warn(f"checkpoint {step} is damaged ({reason}); {earlier}")
    if steps or self._set_aside:
      raise UserError(
          f"no checkpoint in {self._directory} can be read; they were moved beside it. "
          f"Start again in another --workdir"
      )
    return None

  def restore(self, step: int) -> PyTree:
    """One checkpoint as nested dicts, on the first device, in the saved shapes.

    Raises:
      UserError: it is damaged.
    """
    try:
      tree = self._checkpointer.metadata(step).metadata
      device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
      target = jax.tree.map(
          lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=device), tree
      )
      return self._load(step, target)
    except Exception as e:
      raise UserError(
          f"checkpoint {step} in {self._directory} is damaged ({type(e).__name__}); "
          f"name another one"
      ) from None

  def _record_path(self, step: int) -> pathlib.Path:
    return self._directory.parent / "checksums" / f"{step}.json"

  def _damage(self, step: int) -> str | None:
    if self._remote:  # A bucket compares checksums itself.
      return None
    return checksums.damage(self._directory / str(step), self._record_path(step))

  def _record(self, step: int | None) -> None:
    """Writes the checksums of a finished save; Orbax's thread and the caller's may ask."""
    with self._recording:
      folder = self._directory / str(step)
      if step is None or self._remote or not processes.is_first():
        return
      if not folder.exists() or self._record_path(step).exists():
        return
      checksums.write(folder, self._record_path(step))
      for path in self._record_path(step).parent.glob("*.json"):
        if not (self._directory / path.stem).exists():
          path.unlink()

  def _check_metrics(self, read_only: bool) -> int:
    """Moves checkpoints aside whose metrics Orbax, which reads all at once, would fail on."""
    count = 0
    for path in sorted(self._directory.glob("*/metrics/metrics")):
      step = path.parent.parent.name
      try:
        if not step.isdecimal() or isinstance(json.loads(path.read_text()), dict):
          continue
      except FileNotFoundError:  # Another process has just removed this checkpoint.
        continue
      except (OSError, ValueError):
        pass
      if read_only:
        raise UserError(
            f"checkpoint {step} in {self._directory} is damaged (its metrics); the command "
            f"that trained this run moves it aside and goes on"
        )
      self._put_aside(int(step))
      self._warn(f"checkpoint {step} is damaged (its metrics); continuing from the one before")
      count += 1
    return count

  def _try_load(self, step: int, target: PyTree) -> tuple[PyTree, str | None]:
    """(tree, None), or (None, the kind of error that a process met)."""
    tree, failed = None, ""
    try:
      tree = self._load(step, target)
    except Exception as e:  # Orbax and TensorStore raise many kinds for damaged files.
      failed = type(e).__name__
    return tree, next(filter(None, processes.gather(failed)), None)

  def _load(self, step: int, target: PyTree) -> PyTree:
    tree = self._checkpointer.load(step, target)
    for leaf in jax.tree.leaves(tree):
      leaf.block_until_ready()
    return tree

  def _seen_first(self, look: Callable[[], str | None]) -> str | None:
    """What the first process sees in the files, for all: they decide alike by it."""
    return processes.gather(look() or "" if processes.is_first() else "")[0] or None

  def _move_aside(self, step: int) -> None:
    self._seen_first(lambda: self._put_aside(step))
    self._checkpointer.reload()

  def _put_aside(self, step: int) -> None:
    place = self._directory.parent / f"damaged-{step}"
    with contextlib.suppress(FileNotFoundError):
      shutil.rmtree(place)
    (self._directory / str(step)).rename(place)


@contextlib.contextmanager
def _as_oserror():
  """TensorStore reports a full or broken disk as ValueError; the rest of Python as OSError."""
  try:
    yield
  except ValueError as e:
    raise OSError(f"a checkpoint could not be saved: {str(e).splitlines()[0][:160]}") from e


def _criterion(metrics: dict[str, float], default: float | None) -> float | None:
  return metrics.get(CRITERION, metrics.get("loss", default))


class _EveryCall:
  """Saves whenever `save` is called: the loop decides when."""

  def should_save(self, step, previous_steps, *, context) -> bool:
    del step, previous_steps, context
    return True


def target_of(tree: PyTree, shardings: PyTree) -> PyTree:
  """What to restore a tree like `tree` to: its shapes and dtypes, each leaf placed so."""
  return jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=place),
      tree,
      shardings,
  )
