"""Metrics of a run: metrics.jsonl, timings.jsonl and TensorBoard events.

metrics.jsonl holds only what (config, seed, step) determine, so that a run which was
stopped and resumed has the very file of one that was left alone. What depends on the
machine and the hour goes to timings.jsonl.
"""

import json
import os
import pathlib

from dlx.distributed import processes
from dlx.runs import object_storage

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"


def read(path: str | pathlib.Path) -> list[dict]:
  """The whole lines of a .jsonl file; [] when there is none."""
  try:
    lines = pathlib.Path(path).read_bytes().split(b"\n")
  except FileNotFoundError:
    return []
  # A killed process can leave half a line behind the last newline.
  return [json.loads(line) for line in lines[:-1]]


class MetricsWriter:
  """Appends lines to the files of a workdir, from the first process; a context manager."""

  def __init__(self, workdir: pathlib.Path, *, after_step: int):
    """Opens the files and cuts what lies beyond the checkpoint that a run resumes from.

    Args:
      workdir: an existing folder.
      after_step: the step of that checkpoint, 0 for a new run.
    """
    import tensorboardX  # Takes seconds where PyTorch is installed, and only training writes.

    self._workdir = workdir
    self._metrics = _open_cut(workdir / METRICS, after_step)
    self._timings = _open_cut(workdir / TIMINGS, after_step)
    # purge_step makes TensorBoard forget what an interrupted run wrote after it.
    self._events = tensorboardX.SummaryWriter(
        str(workdir / "tensorboard"), purge_step=after_step + 1 if after_step else None,
        write_to_disk=processes.is_first(),
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
    """Puts the lines on disk: done before a checkpoint that relies on them."""
    if processes.is_first():
      os.fsync(self._metrics.fileno())
      self._events.flush()
      object_storage.put(self._workdir)


def _open_cut(path: pathlib.Path, after_step: int):
  if not processes.is_first():
    return open(os.devnull, "a")
  kept = [line for line in read(path) if line["step"] <= after_step]
  new = path.with_suffix(".new")
  new.write_text("".join(json.dumps(line) + "\n" for line in kept))
  new.replace(path)  # In one move: a kill between the two leaves one of them whole.
  return path.open("a", buffering=1)


def _append(file, line: dict) -> None:
  file.write(json.dumps(line) + "\n")
