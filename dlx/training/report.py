"""Pictures of a run, drawn from its metrics.jsonl."""

import pathlib

import matplotlib

matplotlib.use("Agg")  # No screen is needed.
from matplotlib import pyplot as plt  # noqa: E402

from dlx.training import metrics  # noqa: E402


def curves(workdir: str | pathlib.Path, *, metric: str = "loss", unit: str = "") -> pathlib.Path:
  """Draws training and validation `metric` over steps to curves.png.

  Args:
    workdir: a run's folder.
    metric: drawn from lines with `metric` and lines with `validation/metric`.
    unit: of the vertical axis, "nats per character" say.

  Returns:
    The picture's path.
  """
  workdir = pathlib.Path(workdir)
  lines = metrics.read(workdir / metrics.METRICS)
  training = [(line["step"], line[metric]) for line in lines if metric in line]
  name = f"validation/{metric}"
  validation = [(line["step"], line[name]) for line in lines if name in line]

  figure, axes = plt.subplots(figsize=(7, 4.2), dpi=150)
  if training:
    axes.plot(*zip(*training), color="#9ecae1", linewidth=1, label="training")
  if validation:
    axes.plot(*zip(*validation), color="#08519c", linewidth=1.8, label="validation")
    step, best = min(validation, key=lambda point: point[1])
    axes.plot(step, best, "o", color="#08519c", markersize=5)
    axes.annotate(
        f"{best:.4f}", (step, best), xytext=(0, 9), textcoords="offset points", ha="center"
    )
    # The first steps fall so far that the rest would be a flat line.
    low = min(best, min(value for _, value in training[-len(training) // 2 :] or [(0, best)]))
    high = max(value for _, value in validation)
    axes.set_ylim(low - 0.05 * (high - low) - 0.01, low + 1.15 * max(high - low, 0.1))
  axes.set_xlabel("step")
  axes.set_ylabel(f"{metric} ({unit})" if unit else metric)
  axes.grid(alpha=0.25)
  axes.spines[["top", "right"]].set_visible(False)
  if training or validation:
    axes.legend(frameon=False)
  figure.tight_layout()
  path = workdir / "curves.png"
  figure.savefig(path)
  plt.close(figure)
  return path
