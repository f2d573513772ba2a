"""Training and validation curves of a run, from its metrics.jsonl."""

import math
import pathlib

from dlx.reports import figures
from dlx.runs import metric_log


def points(lines: list[dict], key: str) -> list[tuple[int, float]]:
  """(step, value) of every line that has the key; nan where the value is not finite."""
  found = [(line["step"], line[key]) for line in lines if key in line]
  return [(step, value if math.isfinite(value) else math.nan) for step, value in found]


def finite(points: list[tuple[int, float]]) -> list[tuple[int, float]]:
  """The points whose value is a number."""
  return [(step, value) for step, value in points if math.isfinite(value)]


def draw(
    workdir: str | pathlib.Path, *, metric: str = "loss", unit: str = "", maximize: bool = False
) -> pathlib.Path:
  """Draws a metric over steps: of the training batches, and of the validation split.

  A value that is not finite leaves a gap, and is never the best one.

  Args:
    workdir: a run's folder.
    metric: drawn from lines with `metric` and lines with `validation/metric`.
    unit: of the loss, such as "nats per character".
    maximize: whether larger values are better; the best one is marked.

  Returns:
    The figure's path: curves.png for the loss, METRIC.png for others.
  """
  workdir = pathlib.Path(workdir)
  lines = metric_log.read_run(workdir)
  training, validation = points(lines, metric), points(lines, f"validation/{metric}")

  figure = figures.figure(7, 4.2)
  axes = figure.subplots()
  if training:
    label = f"training{_averaged(training)}"
    axes.plot(*zip(*training), color="#9ecae1", linewidth=1, label=label)
  if validation:
    marker = {"marker": "o", "markersize": 3} if len(validation) < 30 else {}
    axes.plot(*zip(*validation), color="#08519c", linewidth=1.8, label="validation", **marker)
  if finite(validation):
    best = max if maximize else min
    step, value = best(finite(validation), key=lambda point: point[1])
    axes.plot(step, value, "o", color="#08519c", markersize=5)
    axes.annotate(
        f"{value:.4f}", (step, value), xytext=(0, 9), textcoords="offset points", ha="center"
    )
    # Clip the initial transient so that the rest is visible.
    values = [value for _, value in finite(validation + training[-len(training) // 2 :])]
    low, high = min(values), max(values)
    margin = 0.1 * max(high - low, 0.1 * abs(value))
    axes.set_ylim(low - margin, high + margin)
  axes.set_xlabel("step")
  name = f"{metric} ({unit})" if unit and metric == "loss" else metric
  axes.set_ylabel(name, parse_math=False)
  axes.grid(alpha=0.25)
  axes.spines[["top", "right"]].set_visible(False)
  if training or validation:
    axes.legend(frameon=False)
  figure.set_layout_engine("tight")
  return figures.save(figure, workdir / ("curves.png" if metric == "loss" else f"{metric}.png"))


def _averaged(training: list[tuple[int, float]]) -> str:
  """How many steps a point is the mean of: those since the point before it."""
  steps = {after - before for (before, _), (after, _) in zip(training, training[1:])}
  if not steps or max(steps) == 1:
    return ""
  count = f"{min(steps)}" if len(steps) == 1 else f"{min(steps)} to {max(steps)}"
  return f", means of {count} steps"
