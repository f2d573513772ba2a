"""Checkpoints of a run: Orbax v1, asynchronous and atomic, the latest few and the best."""

from collections.abc import Callable, Iterable
import contextlib
import functools
import json
import pathlib
import threading
from typing import Any

from etils import epath
import jax
from orbax.checkpoint import v1 as ocp

from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import files, object_storage, record, retention

PyTree = Any

_STATE = "state"  # Orbax's name of a tree in a checkpoint's folder.


class Checkpoints:
  """The checkpoints below a directory; a context manager that waits for the last save.

  All processes of a run call every method, and each saves and restores its shards of the
  arrays; only the primary process manages the files.

  A checkpoint is written to a temporary folder and renamed: a killed process leaves the earlier
  ones intact. It counts once it is in the record (dlx.runs.record); in object storage at once.
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
      read_only: leave the unfinished folders of a save, which another process may be writing.

    Raises:
      UserError: the record is missing or corrupted.
    """
    self._remote = object_storage.is_address(directory)
    path = epath.Path(directory) if self._remote else pathlib.Path(directory).absolute()
    self._directory, self._plain = path, path if self._remote else files.plain(path)
    self._max_to_keep, self._warn = max_to_keep, warn
    self._recording, self._saving, self._unrecorded = threading.Lock(), None, None
    self._checkpointer, self._num_quarantined = None, 0
    if self._remote:
      look = functools.partial(retention.check_metrics, self._directory, read_only)
      self._num_quarantined = int(self._on_primary(lambda: str(look(warn))))
    elif not read_only:
      self._num_quarantined = int(self._on_primary(lambda: str(self._tidy())))
    elif self._directory.is_dir():
      self._entries()  # Raises the errors of the record.
    if self._remote or not read_only:
      self._checkpointer = ocp.training.Checkpointer(
          self._plain,
          save_decision_policy=_EveryCall(),
          # All, for None: the record decides.
          preservation_policy=retention.policy(max_to_keep) if self._remote else None,
          cleanup_tmp_directories=not read_only,
      )

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    if self._checkpointer is None:
      return
    with _as_oserror():
      try:
        self._finish()
      finally:
        self._checkpointer.close()

  @property
  def steps(self) -> list[int]:
    """The steps of all checkpoints, in order."""
    return sorted(self._metrics())

  @property
  def best(self) -> int | None:
    """The step with the smallest retention.CRITERION (the latest on ties)."""
    return retention.best(self._metrics())

  def grown(self, step: int) -> list[int] | None:
    """The `grown` that a checkpoint was saved with."""
    if self._remote:
      return None
    return json.loads(self._on_primary(lambda: json.dumps(self._entries()[str(step)]["grown"])))

  def save(
      self,
      step: int,
      tree: PyTree,
      metrics: dict[str, float] | None = None,
      *,
      grown: list[int] | None = None,
  ) -> None:
    """Starts an asynchronous save; the arrays are copied before this returns.

    Args:
      step: the checkpoint's name.
      tree: arrays in dicts, lists and dataclasses.
      metrics: of the validation at this step, if any; the checkpoint with the smallest
        CRITERION (loss, without one) is the best.
      grown: recorded with the checkpoint: the checksum of metrics.jsonl so far.

    Raises:
      OSError: this save, or the one before it, failed.
    """
    with _as_oserror():
      self._finish()
      saving = self._checkpointer.save_async(step, tree, metrics=metrics)
    self._saving, self._unrecorded = saving, (step, metrics, grown)
    saving.on_complete(lambda _: self._record())

  def wait(self) -> None:
    """Waits until the last save is on disk.

    Raises:
      OSError: it failed.
    """
    with _as_oserror():
      self._finish()

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
      tree, reason = self._try_load(step, target)
      if reason is None:
        return tree
      self._on_primary(functools.partial(self._quarantine, step, reason, steps))
      self._checkpointer.reload()
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
      if (reason := self.difference(step)) is None:
        device = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
        tree = self.metadata(step)
        return self._load(step, target_of(tree, jax.tree.map(lambda _: device, tree)))
    except Exception as e:  # Orbax and TensorStore raise many types.
      reason = type(e).__name__
    raise UserError(
        f"checkpoint {step} in {self._directory} is corrupted ({reason}); name another one, or "
        f"repeat the command that trained this run: it continues from the previous one"
    )

  def _entries(self) -> dict[str, dict]:
    """The record of the checkpoints, by step."""
    workdir = self._directory.parent
    names = [path.name for path in self._directory.glob("*") if path.name.isdecimal()]
    return record.load(workdir)["checkpoints"] if names or record.exists(workdir) else {}

  def _metrics(self) -> dict[int, dict]:
    if self._remote:
      return {info.step: info.metrics or {} for info in self._checkpointer.checkpoints}
    found = json.loads(self._on_primary(lambda: json.dumps(self._entries())))
    return {int(step): entry["metrics"] or {} for step, entry in found.items()}

  def metadata(self, step: int) -> PyTree:
    """The tree of a checkpoint, with shapes and dtypes in place of arrays."""
    return ocp.metadata(self._plain / str(step), checkpointable_name=_STATE).metadata

  def difference(self, step: int) -> str | None:
    """The first difference between a checkpoint and the record; None when there is none."""
    if self._remote:
      return None
    entry = self._entries().get(str(step))
    if entry is None:
      return f"it is not in {record.RECORD}"
    return record.difference(self._directory / str(step), entry)

  def _finish(self) -> None:
    """Waits for the last save, frees its thread and descriptors, and records it."""
    self._checkpointer.wait()
    if self._saving is not None:
      saving, self._saving = self._saving, None
      saving.result()
    self._record()

  def _record(self) -> None:
    """Records a finished save, then deletes what is not to be kept.

    Called by Orbax's thread and by the caller's.
    """
    with self._recording:
      if self._unrecorded is None or self._remote or not processes.is_primary():
        return
      step, metrics, grown = self._unrecorded
      folder = self._directory / str(step)
      if not folder.is_dir():  # The save failed.
        return
      with record.changed(self._directory.parent) as content:
        known = content["checkpoints"]
        known[str(step)] = record.describe(folder, metrics, grown)
        scores = {int(step): entry["metrics"] for step, entry in known.items()}
        removed = retention.not_kept(scores, self._max_to_keep)
        for step in removed:
          del known[str(step)]
      self._unrecorded = None
      for step in removed:
        retention.remove(self._directory, step)

  def _tidy(self) -> int:
    """Clears up after killed processes, and quarantines corrupted checkpoints; their number."""
    retention.remove_remains(self._directory)
    count, entries = 0, self._entries()
    for step in sorted(map(int, entries), reverse=True):
      if reason := record.difference(self._directory / str(step), entries[str(step)]):
        self._quarantine(step, reason, map(int, entries))
        count += 1
    for path in self._directory.glob("*"):
      if path.name.isdecimal() and path.name not in entries:
        retention.move_aside(self._directory, int(path.name), "unrecorded")
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
    return jax.block_until_ready(
        ocp.load(self._plain / str(step), target, checkpointable_name=_STATE)
    )

  def _on_primary(self, look: Callable[[], str | None]) -> str | None:
    """Evaluates `look` in the primary process; all processes get its result."""
    return processes.gather(look() or "" if processes.is_primary() else "")[0] or None

  def _quarantine(self, step: int, reason: str, steps: Iterable[int]) -> None:
    retention.move_aside(self._directory, step, "corrupted")
    if not self._remote:
      with record.changed(self._directory.parent) as content:
        del content["checkpoints"][str(step)]
    then = "continuing from the previous one" if step > min(steps) else "no other is left"
    self._warn(f"checkpoint {step} is corrupted ({reason}); {then}")


@contextlib.contextmanager
def _as_oserror():
  """TensorStore reports a full or faulty disk as ValueError; this raises OSError instead."""
  try:
    yield
  except ValueError as e:
    raise OSError(f"a checkpoint could not be saved: {str(e).splitlines()[0][:160]}") from e


class _EveryCall:
  """Saves at every call of `save`: the training loop decides when."""

  def should_save(self, *args, **kwargs) -> bool:
    return True


def target_of(tree: PyTree, shardings: PyTree) -> PyTree:
  """The restore target of a tree: its shapes and dtypes, with a sharding for each leaf."""
  target = lambda x, place: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place)  # noqa: E731
  return jax.tree.map(target, tree, shardings)
