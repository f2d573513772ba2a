"""Series of numbers as data of forecasts: tables, the Mackey-Glass equation, windows.

A window x_{t-W+1} ... x_t is an input, x_{t+h} with horizon h >= 1 its target.
"""

import math
import pathlib

import numpy as np

from dlx import paths
from dlx.data import tables
from dlx.data import text as text_files
from dlx.data.split import Splits
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import Data

_STEP = 0.1  # Of the integration, in the equation's unit of time.
_SETTLING = 1000  # Units of time until the series no longer depends on where it starts.
_GAP = "a series has no gaps: fill in the value"
_NAMES = Splits("training", "validation", "test")


def load(options, assets: dict | None = None) -> Data:
  """A series, cut in time order, as windows and their targets.

  A target belongs to the split it lies in. The window before it may begin in the split before,
  since these values are known when it is forecast.

  Args:
    options: config.data with file, column, dataset, num_values, interval, validation_fraction,
      test_fraction, window and horizon.
    assets: of a run, with its mean and std; None to compute them from the training split.

  Returns:
    Data: inputs (N, W) and targets (N,) of each split, float32, standardized by the assets
      "mean" and "std".

  Raises:
    UserError: the table cannot be read, or the series is too short or constant in a split.
  """
  values = from_options(options)
  parts = cut(len(values), options.validation_fraction, options.test_fraction)
  window, horizon = options.window, options.horizon
  count = parts.train.stop
  if count < window + horizon:
    raise UserError(
        f"the series has {len(values)} values, {count} of them for training, but a window of "
        f"{window} and the target {horizon} later take {window + horizon}; give a longer series, "
        f"or a shorter window"
    )
  assets = assets or statistics(values[:count])
  with np.errstate(over="ignore"):
    scaled = ((values - assets["mean"]) / assets["std"]).astype(np.float32)
  if not np.isfinite(scaled).all():
    raise UserError(f"{values[~np.isfinite(scaled)][0]:g} is too far from the training values")
  splits = [windows(scaled, part, window, horizon) for part in parts]
  for name, split in zip(_NAMES, splits):
    count = len(split["targets"])
    if count < 2 or np.ptp(split["targets"]) == 0:
      raise UserError(
          f"the {name} split has {count} targets, all of one value, so that errors cannot be "
          f"divided by their standard deviation; give another series, or larger fractions"
      )
  return Data(*splits, assets=assets)


def from_options(options) -> np.ndarray:
  """The column of options.file, or the first num_values of options.dataset; float64 (N,)."""
  if options.file:
    return read(paths.expand(options.file), options.column)
  skipped = -(-_SETTLING // options.interval)
  return mackey_glass(skipped + options.num_values, interval=options.interval)[skipped:]


def read(path: str | pathlib.Path, column: str) -> np.ndarray:
  """A column of a table, as float64 (N,).

  Args:
    path: a .csv, .tsv or .jsonl file; see `tables.read`. Its rows are in time order.
    column: its name.

  Raises:
    UserError: the table cannot be read, it has no such column or no rows, or a value is
      missing or not a finite number (the message has the number of its row).
  """
  (texts,), notices = tables.read(path, [column])
  if not texts:
    raise UserError(f"{path} has no rows")
  values = [
      tables.number(text, f"{path}: row {row}", column, _GAP) for row, text in enumerate(texts, 1)
  ]
  _check_blank_lines(path, column)
  for notice in notices:
    processes.notice(notice)
  return np.array(values)


def _check_blank_lines(path: str | pathlib.Path, column: str) -> None:
  """A blank line is no row of a table; where the column is the only one, it is a missing value."""
  bare = [line.strip(' "\t\r') for line in text_files.read(path).strip().split("\n")]
  names = [i for i, line in enumerate(bare[:2]) if line == column]  # Or after Excel's sep=.
  if names and "" in bare[names[0] :]:
    row = bare.index("", names[0]) - names[0]
    raise UserError(f"{path}: row {row} has no {column}; {_GAP}")


def parse(line: str, column: str) -> np.ndarray:
  """The values of a line, float64 (N,): numbers between blanks or commas, or a table's name.

  Args:
    line: "1 2.5 3", "1, 2.5, 3" or "file.csv".
    column: of the table.

  Raises:
    UserError: a value is not a number, or the table cannot be read.
  """
  if pathlib.Path(line.strip()).suffix.lower() in tables.SUFFIXES:
    return read(paths.expand(line.strip()), column)
  words = line.replace(",", " ").split()
  if not words:
    raise UserError(f"{line!r} has no values; give numbers between blanks, or a .csv file")
  return np.array([tables.number(word, f"{line!r}", "value", _GAP) for word in words])


def cut(count: int, validation_fraction: float, test_fraction: float) -> Splits[slice]:
  """Where the splits of a series lie: training, then validation, then test."""
  num_test = round(count * test_fraction)
  num_validation = round(count * validation_fraction)
  end, middle = count - num_test, count - num_test - num_validation
  return Splits(slice(0, middle), slice(middle, end), slice(end, count))


def statistics(values: np.ndarray) -> dict[str, float]:
  """{"mean", "std"} of the values of a training split.

  Raises:
    UserError: the values are equal, or their variance is not a number of 64 bits.
  """
  if np.ptp(values) == 0:
    raise UserError(f"the series is constant: its {len(values)} training values are {values[0]:g}")
  with np.errstate(all="ignore"):
    mean, std = float(values.mean()), float(values.std())
  if not 0 < std < math.inf:
    raise UserError("the variance of the series overflows or underflows; give it in another unit")
  return {"mean": mean, "std": std}


def windows(values: np.ndarray, part: slice, window: int, horizon: int) -> dict[str, np.ndarray]:
  """The examples with a target in `part`: inputs (N, W), and targets (N,) `horizon` later.

  Row i has inputs x_{t-W+1} ... x_t and the target x_{t+h}, where t + h is the i-th index in
  `part` that has a whole window before it.

  Args:
    values: (T,).
    part: the indices of the targets.
    window: W.
    horizon: h, at least 1.
  """
  first = max(part.start, window + horizon - 1)
  stop, before = max(first, part.stop), window + horizon - 1
  inputs = np.lib.stride_tricks.sliding_window_view(values, window)[first - before : stop - before]
  return {"inputs": inputs.copy(), "targets": values[first:stop].copy()}


def mackey_glass(num_values: int, *, tau: int = 17, interval: int = 1) -> np.ndarray:
  """A chaotic series: the Mackey-Glass equation at times 0, d, 2d, ...; float64 (N,).

    dx/dt = 0.2 x(t - tau) / (1 + x(t - tau)^10) - 0.1 x(t),   x(t) = 1.2 for t <= 0

  The classical Runge-Kutta method with steps of 0.1. The delayed value in the middle of a step
  is that of the cubic polynomial with the values and the slopes at both ends of that step:

    x(t + s/2) = (x(t) + x(t + s)) / 2 + s (x'(t) - x'(t + s)) / 8

  Args:
    num_values: N.
    tau: the delay; 17 is chaotic.
    interval: d, the time between two values.

  Source: Mackey and Glass, "Oscillation and chaos in physiological control systems" (1977),
    equation 4b; Bellen and Zennaro, "Numerical methods for delay differential equations" (2003),
    for the interpolation.
  """
  per_unit, s = round(1 / _STEP), _STEP
  lag = tau * per_unit
  xs, middles = [1.2] * (lag + 1), [1.2] * lag  # From time -tau on.
  for i in range(per_unit * interval * (num_values - 1)):
    x, before, middle, after = xs[-1], xs[i], middles[i], xs[i + 1]
    k1 = _slope(x, before)
    k2 = _slope(x + s / 2 * k1, middle)
    k3 = _slope(x + s / 2 * k2, middle)
    k4 = _slope(x + s * k3, after)
    end = x + s / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
    middles.append((x + end) / 2 + s / 8 * (k1 - _slope(end, after)))
    xs.append(end)
  return np.array(xs[lag :: per_unit * interval][:num_values])


def _slope(x: float, delayed: float) -> float:
  # Products only: a library's power differs in the last bit, and chaos makes that another series.
  squared = delayed * delayed
  fourth = squared * squared
  return 0.2 * delayed / (1 + fourth * fourth * squared) - 0.1 * x
