"""Comparison of several runs: curves, and the differences of their configs."""

from collections.abc import Sequence
import os
import pathlib
from typing import NamedTuple

from dlx import presets
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.reports import curves, figures, tables
from dlx.runs import metric_log, record
from dlx.runs import workdir as workdirs


class Curves(NamedTuple):
  """The curves of a run.

  Attributes:
    name: its folder, relative to the folder that all runs have in common.
    config: flat, "model.d_hidden".
    lines: of metrics.jsonl.
  """

  name: str
  config: dict
  lines: list[dict]

  def points(self, key: str) -> list[tuple[int, float]]:
    """(step, value) of every line in which the key has a finite value."""
    return curves.finite(curves.points(self.lines, key))


def read(folders: Sequence[pathlib.Path]) -> list[Curves]:
  """The curves of runs; a folder without a record, of published results, is read unchecked.

  Raises:
    UserError: a folder is not a run, or a file in it is corrupted.
  """
  configs = []
  for folder in folders:
    checked = record.exists(folder)
    if workdirs.is_run(folder) and not checked:
      processes.notice(f"{folder} has no {record.RECORD}: its files are not checked")
    configs.append(presets.flatten(workdirs.read_config(folder, checked=checked)))
  paths = [os.path.abspath(folder) for folder in folders]
  above = os.path.commonpath([os.path.dirname(path) for path in paths])
  return [
      Curves(os.path.relpath(path, above), config, metric_log.read_run(folder))
      for path, config, folder in zip(paths, configs, folders)
  ]


def differing(runs: Sequence[Curves]) -> list[str]:
  """The keys whose values differ between the configs."""
  keys = sorted(set().union(*(run.config for run in runs)))
  return [
      key for key in keys if any(run.config.get(key) != runs[0].config.get(key) for run in runs)
  ]


def summary(run: Curves, keys: Sequence[str]) -> dict:
  """{"run": name, "config": {key: value}, "step": the last one, "metrics": the last validation}.

  Args:
    run: of `read`.
    keys: of the config; those that the run does not have are left out.
  """
  names = sorted({name for line in run.lines for name in line if name.startswith("validation/")})
  found = {name: curves.points(run.lines, name)[-1][1] for name in names}
  return {
      "run": run.name,
      "config": {key: run.config[key] for key in keys if key in run.config},
      "step": run.lines[-1]["step"] if run.lines else None,
      "metrics": {name.removeprefix("validation/"): value for name, value in found.items()},
  }


def table(runs: Sequence[Curves], metric: str) -> tables.Table:
  """A row per run: config differences, the last step, and its validation metrics."""
  keys = differing(runs)
  shown = tables.Table("run", *keys)
  rows = [summary(run, keys) for run in runs]
  names = sorted(set().union(*(row["metrics"] for row in rows)))
  names.sort(key=lambda name: name != metric)
  for title in ("step", *(f"validation/{name}" for name in names)):
    shown.add_column(title, justify="right")
  for row in rows:
    step, found = "-" if row["step"] is None else str(row["step"]), row["metrics"]
    last = [f"{found[name]:.4f}" if name in found else "-" for name in names]
    shown.add_row(row["run"], *(str(row["config"].get(key, "-")) for key in keys), step, *last)
  return shown


def draw(path: pathlib.Path, runs: Sequence[Curves], metric: str) -> None:
  """Draws a metric of all runs over steps: thin lines for training, thick for validation.

  Raises:
    UserError: no run has a finite value of the metric.
  """
  key = f"validation/{metric}"
  if not any(run.points(name) for run in runs for name in (metric, key)):
    known = sorted({name for run in runs for line in run.lines for name in line} - {"step"})
    if {metric, key} & set(known):
      raise UserError(f"metric: {metric} is not finite in any line of these runs")
    raise UserError(f"metric: expected one of {', '.join(known)}, got {metric!r}")
  figure = figures.figure(8, 4.6)
  axes = figure.subplots()
  seen, handles = [], []
  for i, run in enumerate(runs):
    training, validation = (curves.points(run.lines, name) for name in (metric, key))
    color = f"C{i % 10}"
    if training:
      axes.plot(*zip(*training), color=color, linewidth=0.7, alpha=0.45)
    if validation:
      axes.plot(*zip(*validation), color=color, linewidth=1.8, marker="o", markersize=3)
    handles += axes.plot([], [], color=color)
    # Clip the initial transient so that the rest is visible.
    validation, training = run.points(key), run.points(metric)
    seen += [value for _, value in validation + training[len(training) // 2 :]]
  low, high = min(seen), max(seen)
  margin = 0.08 * max(high - low, 1e-3)
  axes.set_ylim(low - margin, high + margin)
  axes.set_xlabel("step (thin lines: training, thick lines: validation)")
  axes.set_ylabel(metric, parse_math=False)
  axes.grid(alpha=0.25)
  axes.spines[["top", "right"]].set_visible(False)
  figures.legend(axes, [run.name for run in runs], handles, frameon=False, fontsize=8)
  figure.set_layout_engine("tight")
  figures.save(figure, path)
