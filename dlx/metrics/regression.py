"""Errors of regression, of predictions y' of targets y, and the functions of a Task from them."""

from collections.abc import Callable

import numpy as np


def rmse(predictions: np.ndarray, targets: np.ndarray) -> float:
  """The root mean square error sqrt(mean (y' - y)^2) of arrays (N,)."""
  difference = np.asarray(predictions, np.float64) - np.asarray(targets, np.float64)
  return float(np.sqrt(np.mean(difference**2)))


def r_squared(predictions: np.ndarray, targets: np.ndarray) -> float:
  """The fraction of the variance that is explained, 1 - sum (y' - y)^2 / sum (y - mean y)^2.

  1 for exact predictions, 0 for the mean, below 0 for worse; nan if all targets are equal.

  Args:
    predictions, targets: (N,).
  """
  variance = np.asarray(targets, np.float64).var()
  return float(1 - rmse(predictions, targets) ** 2 / variance) if variance else float("nan")


def make_eval(outputs_fn: Callable) -> Callable:
  """`eval_fn` of a Task: the squared error of each example.

  Args:
    outputs_fn: `outputs_fn(variables, batch) -> (B,)`; batch["targets"] has the targets.
  """

  def eval_fn(variables, batch, rng):
    return {"loss": (outputs_fn(variables, batch) - batch["targets"]) ** 2}

  return eval_fn


def make_outputs(outputs_fn: Callable) -> Callable:
  """`outputs(variables, batch, rng) -> (B,)`, for `apply`; outputs_fn as for `make_eval`."""
  return lambda variables, batch, rng: outputs_fn(variables, batch)


def make_measure(outputs: Callable, numbers: Callable) -> Callable:
  """`measure_fn` of a Task: R^2, and RMSE in the unit of the data.

  Args:
    outputs: of `make_outputs`.
    numbers: turns outputs and targets into the unit of the data.
  """

  def measure_fn(variables, data, split, apply):
    examples = data.split(split)
    found, targets = numbers(apply(outputs, examples)), numbers(examples["targets"])
    return {"R^2": r_squared(found, targets), "RMSE": rmse(found, targets)}

  return measure_fn


def make_predict(outputs: Callable, numbers: Callable, read: Callable) -> Callable:
  """`predict` of a Task: a number for each line.

  Args:
    outputs, numbers: as for `make_measure`.
    read: `read(lines) -> arrays`, the examples of the lines.
  """

  def predict(variables, lines, apply, *, json: bool = False):
    found = numbers(apply(outputs, read(lines)))
    if json:
      return [{"input": line, "prediction": float(y)} for line, y in zip(lines, found)]
    return [f"{line}: {y:.6g}" for line, y in zip(lines, found)]

  return predict
