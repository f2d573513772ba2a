"""Metrics of a run: metrics.jsonl, timings.jsonl and TensorBoard events.

metrics.jsonl depends only on (config, seed, step): a run that was stopped and resumed has the
same file as an uninterrupted one. Values that depend on the machine go to timings.jsonl.

The lines are strict JSON, for programs in any language: a value that is nan or infinite is null
in the file, and nan when it is read.
"""

import json
import math
import os
import pathlib

from dlx.distributed import processes
from dlx.runs import object_storage

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"


def read(path: str | pathlib.Path) -> list[dict]:
  """The complete lines of a .jsonl file, nan for null; [] when it does not exist."""
  try:
    lines = pathlib.Path(path).read_bytes().split(b"\n")
  except FileNotFoundError:
    return []
  # A killed process can leave an incomplete line after the last newline.
  parsed = [json.loads(line) for line in lines[:-1]]
  return [{k: math.nan if v is None else v for k, v in line.items()} for line in parsed]


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
    self._metrics = _open_cut(workdir / METRICS, after_step)
    self._timings = _open_cut(workdir / TIMINGS, after_step)
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

  def write(self, step: int, values: dict[str, float]) -> None:
    """One line of metrics.jsonl, and the same scalars as events."""
    _append(self._metrics, {"step": step, **values})
    for name, value in values.items():
      self._events.add_scalar(name, value, step)

  def write_timing(self, step: int, values: dict[str, float]) -> None:
    """One line of timings.jsonl."""
    _append(self._timings, {"step": step, **values})

  def sync(self) -> None:
    """Writes the lines to disk: called before a checkpoint that relies on them."""
    if processes.is_primary():
      os.fsync(self._metrics.fileno())
      self._events.flush()
      object_storage.upload(self._workdir)


def _open_cut(path: pathlib.Path, after_step: int):
  if not processes.is_primary():
    return open(os.devnull, "a")
  kept = [line for line in read(path) if line["step"] <= after_step]
  new = path.with_suffix(".new")
  new.write_text("".join(map(_to_json, kept)))
  new.replace(path)  # Atomic: a killed process leaves one of the two.
  return path.open("a", buffering=1)


def _append(file, line: dict) -> None:
  file.write(_to_json(line))


def _to_json(line: dict) -> str:
  finite = {name: value if math.isfinite(value) else None for name, value in line.items()}
  return json.dumps(finite, allow_nan=False) + "\n"
