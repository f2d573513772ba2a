"""Metrics of a run: metrics.jsonl, timings.jsonl and TensorBoard events.

metrics.jsonl depends only on (config, seed, step): a run that was stopped and resumed has the
same file as an uninterrupted one. Values that depend on the machine go to timings.jsonl.

The lines are strict JSON, for programs in any language: a value that is nan or infinite is null
in the file, and nan when it is read. The file grows: its checksum up to a checkpoint is recorded
with the checkpoint.
"""

import json
import math
import os
import pathlib
import zlib

from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import files, object_storage, record

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"


def read(path: str | pathlib.Path) -> list[dict]:
  """The complete lines of a .jsonl file, nan for null; [] when it does not exist.

  Raises:
    UserError: it cannot be read, or a line is not a JSON object with a step.
  """
  path = pathlib.Path(path)
  if not path.exists() and not path.is_symlink():
    return []
  return _parse(path, files.read(path))


def read_run(workdir: pathlib.Path) -> list[dict]:
  """The metrics of a run, of which those before its last checkpoint are checked.

  Raises:
    UserError: the run lost lines of them.
  """
  if record.exists(workdir):
    entries = record.load(workdir)["checkpoints"]
    if entries:
      check(workdir, entries[max(entries, key=int)]["grown"])
  return read(workdir / METRICS)


def check(workdir: pathlib.Path, grown: list[int] | None) -> None:
  """Raises UserError unless the metrics begin with the bytes of this checksum."""
  if grown is None:
    return
  path = workdir / METRICS
  content = files.read(path)
  if record.checksum(content[: grown[0]]) != grown:
    lost = len(content) < grown[0]
    wrong = f"{len(content)} of at least {grown[0]} bytes" if lost else "a wrong checksum"
    raise UserError(
        f"{path} is corrupted: it has {wrong}; restore it from a copy, or accept the files as they "
        f"are with launch.train --override"
    )


class MetricLog:
  """Appends lines to the files of a workdir, in the primary process; a context manager."""

  def __init__(self, workdir: pathlib.Path, *, after_step: int):
    """Opens the files and removes lines after the checkpoint that a run resumes from.

    Args:
      workdir: an existing folder.
      after_step: the step of that checkpoint, -1 for a new run.
    """
    import tensorboardX  # Takes seconds where PyTorch is installed, and only training writes.

    self._workdir = workdir
    self._metrics = _Lines(workdir / METRICS, after_step)
    self._timings = _Lines(workdir / TIMINGS, after_step)
    # purge_step makes TensorBoard discard events of an interrupted run after that step.
    self._events = tensorboardX.SummaryWriter(
        str(workdir / "tensorboard"), purge_step=after_step + 1 if after_step > 0 else None,
        write_to_disk=processes.is_primary(),
    )

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._metrics.close()
    self._timings.close()
    self._events.close()

  @property
  def grown(self) -> list[int]:
    """[size, CRC-32] of metrics.jsonl so far."""
    return list(self._metrics.checksum)

  def write(self, step: int, values: dict[str, float]) -> None:
    """One line of metrics.jsonl, and the same scalars as events."""
    self._metrics.append({"step": step, **values})
    for name, value in values.items():
      self._events.add_scalar(name, value, step)

  def write_timing(self, step: int, values: dict[str, float]) -> None:
    """One line of timings.jsonl."""
    self._timings.append({"step": step, **values})

  def sync(self) -> None:
    """Writes the lines to disk: called before a checkpoint that relies on them."""
    if processes.is_primary():
      self._metrics.sync()
      self._events.flush()
      object_storage.upload(self._workdir)


class _Lines:
  """A .jsonl file that grows, and its checksum; it is empty but in the primary process."""

  def __init__(self, path: pathlib.Path, after_step: int):
    kept = [line for line in read(path) if line["step"] <= after_step]
    content = "".join(map(_to_json, kept)).encode()
    self.checksum = record.checksum(content)
    self._file = None
    if processes.is_primary():
      files.write(path, content)
      self._file = path.open("ab", buffering=0)

  def append(self, line: dict) -> None:
    if self._file is None:
      return
    content = _to_json(line).encode()
    self._file.write(content)
    size, crc = self.checksum
    self.checksum = [size + len(content), zlib.crc32(content, crc)]

  def sync(self) -> None:
    os.fsync(self._file.fileno())

  def close(self) -> None:
    if self._file is not None:
      self._file.close()


def _parse(path: pathlib.Path, content: bytes) -> list[dict]:
  lines = []
  # A killed process can leave an incomplete line after the last newline.
  for i, line in enumerate(content.split(b"\n")[:-1], start=1):
    try:
      values = json.loads(line)
      lines.append({k: math.nan if v is None else v for k, v in values.items()})
      values["step"] + sum(lines[-1].values())  # All are numbers.
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
      raise UserError(f"line {i} of {path} is corrupted; restore it from a copy") from None
  return lines


def _to_json(line: dict) -> str:
  finite = {name: value if math.isfinite(value) else None for name, value in line.items()}
  return json.dumps(finite, allow_nan=False) + "\n"
