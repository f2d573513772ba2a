"""Which checkpoints are kept and which is the best, and the folders of those that are not.

In object storage Orbax keeps the list of the checkpoints, elsewhere the record does.
"""

from collections.abc import Callable, Mapping
import contextlib
import json
import math
import pathlib
import shutil

from etils import epath
from orbax.checkpoint import v1 as ocp

from dlx.errors import UserError

CRITERION = "criterion"  # The metric that chooses the best checkpoint.
_REMOVED = "removed"  # A checkpoint's folder while it is deleted.


def criterion(metrics: dict | None) -> float | None:
  """The finite metric that chooses the best checkpoint: CRITERION, or the loss; None if none."""
  metrics = metrics or {}
  value = metrics.get(CRITERION, metrics.get("loss"))
  return value if value is not None and math.isfinite(value) else None


def best(metrics: Mapping[int, dict | None]) -> int | None:
  """The step with the smallest criterion (the latest on ties); None without any."""
  scored = [(criterion(m), -step) for step, m in metrics.items() if criterion(m) is not None]
  return -min(scored)[1] if scored else None


def not_kept(metrics: Mapping[int, dict | None], max_to_keep: int) -> list[int]:
  """The steps that are neither among the latest nor the best."""
  return sorted({*metrics} - {*sorted(metrics)[-max_to_keep:], best(metrics)})


def move_aside(directory: pathlib.Path, step: int, name: str) -> None:
  """Renames a checkpoint's folder to NAME-STEP beside the directory."""
  place = directory.parent / f"{name}-{step}"
  with contextlib.suppress(FileNotFoundError):
    shutil.rmtree(place)
  with contextlib.suppress(FileNotFoundError):
    (directory / str(step)).rename(place)


def remove(directory: pathlib.Path, step: int) -> None:
  """Deletes a checkpoint's folder; `remove_remains` recognizes what a killed call leaves."""
  move_aside(directory, step, _REMOVED)
  remove_remains(directory)


def remove_remains(directory: pathlib.Path) -> None:
  """Completes killed calls of `remove`."""
  for path in directory.parent.glob(f"{_REMOVED}-*"):
    shutil.rmtree(path, ignore_errors=True)


def policy(max_to_keep: int):
  """Orbax's policy that keeps the latest checkpoints and the best one."""
  policies = ocp.training.preservation_policies

  def score(metrics):
    value = criterion(metrics)
    return float("inf") if value is None else value

  return policies.AnyPreservationPolicy([
      policies.LatestN(max_to_keep),
      policies.BestN(
          get_metric_fn=score, reverse=True, n=1, keep_checkpoints_without_metrics=False
      ),
  ])


def check_metrics(
    directory: epath.Path,
    read_only: bool,
    warn: Callable[[str], None],
) -> int:
  """Moves checkpoints whose metrics Orbax, which reads all of them, would fail on.

  Returns:
    Their number.

  Raises:
    UserError: there is one, and `read_only`.
  """
  count = 0
  for path in sorted(directory.glob("*/metrics/metrics")):
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
          f"checkpoint {step} in {directory} is corrupted (its metrics); the command that trained "
          f"this run quarantines it and continues"
      )
    move_aside(directory, int(step), "corrupted")
    warn(f"checkpoint {step} is corrupted (its metrics); continuing from the previous one")
    count += 1
  return count
