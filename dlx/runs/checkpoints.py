"""Checkpoints of a run: Orbax v1, asynchronous and atomic, the latest few and the best."""

from collections.abc import Callable
import contextlib
import functools
import json
import pathlib
import shutil
import threading
from typing import Any

from etils import epath
import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import checksums, object_storage

PyTree = Any

CRITERION = "criterion"  # The metric that chooses the best checkpoint.


class Checkpoints:
  """The checkpoints below a directory; a context manager that waits for the last save.

  All processes of a run call every method, and each saves and restores its shards of the
  arrays; only the primary process manages the files.

  A checkpoint is first written to a temporary folder and then renamed, so a process that is
  killed while saving leaves the earlier ones intact.
  """

  def __init__(
      self,
      directory: str | pathlib.Path,
      *,
      max_to_keep: int = 2,
      warn: Callable[[str], None] = print,
      read_only: bool = False,
  ):
    """Opens (or creates) the directory.

    Args:
      directory: of the checkpoints, one folder per step.
      max_to_keep: how many of the latest are kept; the best one is kept too.
      warn: is called with one line for each corrupted checkpoint.
      read_only: leave the unfinished folders of a save, which another process may be
        writing.
    """
    self._remote = object_storage.is_address(directory)
    kind = epath.Path if self._remote else pathlib.Path
    self._directory = kind(directory) if self._remote else kind(directory).absolute()
    self._warn = warn
    self._recording, self._last_saved = threading.Lock(), None
    self._num_quarantined = int(self._on_primary(lambda: str(self._check_metrics(read_only))))
    self._checkpointer = self._open(max_to_keep, read_only)
    self._directory = kind(str(self._checkpointer.directory))

  def _open(self, max_to_keep: int, read_only: bool) -> ocp.training.Checkpointer:
    policies = ocp.training.preservation_policies
    return ocp.training.Checkpointer(
        self._directory,
        save_decision_policy=_EveryCall(),
        preservation_policy=policies.AnyPreservationPolicy([
            policies.LatestN(max_to_keep),
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
    """The step with the smallest CRITERION (the latest on ties)."""
    scored = [
        (_criterion(info.metrics, float("inf")), -info.step)
        for info in self._checkpointer.checkpoints
        if info.metrics and _criterion(info.metrics, None) is not None
    ]
    return -min(scored)[1] if scored else None

  def save(self, step: int, tree: PyTree, metrics: dict[str, float] | None = None) -> None:
    """Starts an asynchronous save; the arrays are copied before this returns.

    Args:
      step: the checkpoint's name.
      tree: arrays in dicts, lists and dataclasses.
      metrics: of the validation at this step, if any; the checkpoint with the smallest
        CRITERION (loss, without one) is the best.

    Raises:
      OSError: this save, or the one before it, failed.
    """
    # An older record of this step does not apply to the new files.
    if processes.is_primary() and not self._remote:
      self._record_path(step).unlink(missing_ok=True)
    with _as_oserror():
      saving = self._checkpointer.save_async(step, tree, metrics=metrics)
    self._last_saved = step
    saving.on_complete(lambda _: self._record(step))

  def wait(self) -> None:
    """Waits until the last save is on disk.

    Raises:
      OSError: it failed.
    """
    with _as_oserror():
      self._checkpointer.wait()
      self._record(self._last_saved)

  def restore_latest(self, target: PyTree) -> PyTree | None:
    """The newest checkpoint that can be read, or None when there is none.

    A corrupted one is reported in one line and moved to "corrupted-STEP" beside the directory,
    so that nothing is deleted and its step can be saved again.

    Args:
      target: a tree of jax.ShapeDtypeStruct with shardings: the placement of the restored
        arrays, on the devices of this process.

    Raises:
      UserError: there are checkpoints, and none can be read.
    """
    steps = self.steps
    for step in reversed(steps):
      reason = self._on_primary(functools.partial(self._corruption, step))
      if reason is None:
        tree, reason = self._try_load(step, target)
        if reason is None:
          return tree
      self._quarantine(step)
      earlier = "continuing from the previous one" if step != steps[0] else "no other is left"
      self._warn(f"checkpoint {step} is corrupted ({reason}); {earlier}")
    if steps or self._num_quarantined:
      raise UserError(
          f"no checkpoint in {self._directory} can be read; they were moved to the folder above. "
          f"Start again in another workdir"
      )
    return None

  def restore(self, step: int) -> PyTree:
    """One checkpoint as nested dicts, on the first device, in the saved shapes.

    Raises:
      UserError: it is corrupted.
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
          f"checkpoint {step} in {self._directory} is corrupted ({type(e).__name__}); "
          f"name another one"
      ) from None

  def _record_path(self, step: int) -> pathlib.Path:
    return self._directory.parent / "checksums" / f"{step}.json"

  def _corruption(self, step: int) -> str | None:
    if self._remote:  # Object storage verifies checksums itself.
      return None
    return checksums.verify(self._directory / str(step), self._record_path(step))

  def _record(self, step: int | None) -> None:
    """Writes the checksums of a finished save; called by Orbax's thread and by the caller's."""
    with self._recording:
      folder = self._directory / str(step)
      if step is None or self._remote or not processes.is_primary():
        return
      if not folder.exists() or self._record_path(step).exists():
        return
      checksums.write(folder, self._record_path(step))
      for path in self._record_path(step).parent.glob("*.json"):
        if not (self._directory / path.stem).exists():
          path.unlink()

  def _check_metrics(self, read_only: bool) -> int:
    """Quarantines checkpoints whose metrics Orbax, which reads all of them, would fail on."""
    count = 0
    for path in sorted(self._directory.glob("*/metrics/metrics")):
      step = path.parent.parent.name
      try:
        if not step.isdecimal() or isinstance(json.loads(path.read_text()), dict):
          continue
      except FileNotFoundError:  # Another process has just deleted this checkpoint.
        continue
      except (OSError, ValueError):
        pass
      if read_only:
        raise UserError(
            f"checkpoint {step} in {self._directory} is corrupted (its metrics); the command "
            f"that trained this run quarantines it and continues"
        )
      self._move(int(step))
      self._warn(f"checkpoint {step} is corrupted (its metrics); continuing from the previous one")
      count += 1
    return count

  def _try_load(self, step: int, target: PyTree) -> tuple[PyTree, str | None]:
    """(tree, None), or (None, the type of a process's error)."""
    tree, failed = None, ""
    try:
      tree = self._load(step, target)
    except Exception as e:  # Orbax and TensorStore raise many types.
      failed = type(e).__name__
    return tree, next(filter(None, processes.gather(failed)), None)

  def _load(self, step: int, target: PyTree) -> PyTree:
    tree = self._checkpointer.load(step, target)
    for leaf in jax.tree.leaves(tree):
      leaf.block_until_ready()
    return tree

  def _on_primary(self, look: Callable[[], str | None]) -> str | None:
    """Evaluates `look` in the primary process; all processes get its result."""
    return processes.gather(look() or "" if processes.is_primary() else "")[0] or None

  def _quarantine(self, step: int) -> None:
    self._on_primary(lambda: self._move(step))
    self._checkpointer.reload()

  def _move(self, step: int) -> None:
    place = self._directory.parent / f"corrupted-{step}"
    with contextlib.suppress(FileNotFoundError):
      shutil.rmtree(place)
    (self._directory / str(step)).rename(place)


@contextlib.contextmanager
def _as_oserror():
  """TensorStore reports a full or faulty disk as ValueError; this raises OSError instead."""
  try:
    yield
  except ValueError as e:
    raise OSError(f"a checkpoint could not be saved: {str(e).splitlines()[0][:160]}") from e


def _criterion(metrics: dict[str, float], default: float | None) -> float | None:
  return metrics.get(CRITERION, metrics.get("loss", default))


class _EveryCall:
  """Saves at every call of `save`: the training loop decides when."""

  def should_save(self, step, previous_steps, *, context) -> bool:
    del step, previous_steps, context
    return True


def target_of(tree: PyTree, shardings: PyTree) -> PyTree:
  """The restore target of a tree: its shapes and dtypes, with a sharding for each leaf."""
  return jax.tree.map(
      lambda x, place: jax.ShapeDtypeStruct(np.shape(x), x.dtype, sharding=place),
      tree,
      shardings,
  )
