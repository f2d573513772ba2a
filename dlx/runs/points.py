"""The metrics of a run as arrays."""

import pathlib
from typing import NamedTuple

import numpy as np

from dlx.runs import metric_log


class Points(NamedTuple):
  """A metric over the training: `plot(*points)`.

  Attributes:
    step: int (N,).
    value: float (N,); nan where the run wrote none.
  """

  step: np.ndarray
  value: np.ndarray


def read(workdir: pathlib.Path) -> dict[str, Points]:
  """The points of every metric in a run's metrics.jsonl: "loss", "validation/loss" ..."""
  found = {}
  for line in metric_log.read_run(workdir):
    for name in line.keys() - {"step"}:
      found.setdefault(name, []).append((line["step"], line[name]))
  return {
      name: Points(*(np.array(column, kind) for column, kind in zip(zip(*rows), (int, float))))
      for name, rows in sorted(found.items())
  }
