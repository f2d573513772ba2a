"""The trials of a sweep: values of config keys, from grids and from random draws."""

from collections.abc import Sequence
import itertools
import math

import numpy as np

from dlx.errors import UserError


def parse(argument: str, flag: str) -> tuple[str, list[str]]:
  """("optimizer.learning_rate", ["1e-3", "3e-3"]) of "optimizer.learning_rate=1e-3,3e-3".

  Raises:
    UserError: there is no key, or there are no values.
  """
  key, _, values = argument.partition("=")
  values = [value.strip() for value in values.split(",") if value.strip()]
  if not key or not values:
    raise UserError(f"--{flag}={argument} is not KEY=VALUE,VALUE,...")
  return key.strip(), values


def _range(argument: str, flag: str) -> tuple[str, float, float]:
  key, values = parse(argument, flag)
  try:
    low, high = map(float, values)
  except ValueError:
    raise UserError(f"--{flag}={argument} is not KEY=LOW,HIGH") from None
  if not low < high:
    raise UserError(f"--{flag}={argument}: LOW must be below HIGH")
  if flag == "log_uniform" and low <= 0:
    raise UserError(f"--{flag}={argument}: LOW must be above 0")
  return key, low, high


def make(
    grid: Sequence[str],
    uniform: Sequence[str] = (),
    log_uniform: Sequence[str] = (),
    *,
    count: int = 1,
    seed: int = 0,
) -> list[dict[str, str]]:
  """All points: every combination of the grids, each with `count` draws from the ranges.

  Args:
    grid: "KEY=VALUE,VALUE,..." each.
    uniform, log_uniform: "KEY=LOW,HIGH" each; a number between the two, or e to the power
      of one between their logarithms.
    count: of draws, where there is a range.
    seed: of the draws; the first ones stay when count grows.

  Returns:
    Dicts of values as the command line has them.

  Raises:
    UserError: an argument is malformed, a key is named twice, or there is nothing to vary.
  """
  grids = [parse(argument, "grid") for argument in grid]
  ranges = [(*_range(a, "uniform"), False) for a in uniform]
  ranges += [(*_range(a, "log_uniform"), True) for a in log_uniform]
  keys = [key for key, *_ in [*grids, *ranges]]
  for key in keys:
    if keys.count(key) > 1:
      raise UserError(f"{key} is given twice; give all its values in one flag")
  if not keys:
    raise UserError("nothing varies: give --grid=KEY=VALUE,VALUE or --log_uniform=KEY=LOW,HIGH")
  if count < 1:
    raise UserError(f"--count={count}: expected at least 1")
  rng, draws = np.random.default_rng(seed), []
  for _ in range(count if ranges else 1):
    draw = {}
    for key, low, high, logarithmic in ranges:
      fraction = rng.random()
      if logarithmic:
        value = math.exp(math.log(low) + fraction * (math.log(high) - math.log(low)))
      else:
        value = low + fraction * (high - low)
      draw[key] = f"{value:.4g}"
    draws.append(draw)
  chosen = itertools.product(*([(key, value) for value in values] for key, values in grids))
  return [{**dict(pairs), **draw} for pairs in chosen for draw in draws]


def name(trial: dict[str, str]) -> str:
  """A trial's folder: "learning_rate=1e-3,seed=0", keys by their last part if it is unique."""
  last = [key.rpartition(".")[2] for key in trial]
  return ",".join(
      f"{short if last.count(short) == 1 else key}={value}".replace("/", "_")
      for short, (key, value) in zip(last, trial.items())
  )
