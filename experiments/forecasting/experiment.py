"""Forecasts of a series: x_{t+h} from the window x_{t-W+1} ... x_t, many to one.

  loss = mean (x'_{t+h} - x_{t+h})^2, of values standardized by the training split

Two baselines are measured beside the network: persistence, x'_{t+h} = x_t, and autoregression,
ridge regression on the same windows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from dlx.data import expect, series
from dlx.errors import UserError
from dlx.experiment import Data, Loss, Task
from dlx.metrics.forecasting import normalized_rmse
from dlx.models import autoregression
from dlx.models.forecaster import Forecaster, free_running
from dlx.reports import figures

STRETCH = 200  # Values in a figure.


def load(config, assets=None) -> Data:
  """Windows and targets in time order; the mean and standard deviation of the training split."""
  return series.load(config.data, assets)


def make(config, assets) -> Task:
  """The network that config.model describes, beside the baselines."""
  model, window, horizon = Forecaster(**config.model), config.data.window, config.data.horizon
  mean, std = (expect.number(name, assets[name]) for name in ("mean", "std"))

  def init_fn(rng, data):
    return model.init(rng, jnp.zeros((window,)))

  def forecasts(variables, batch, rng=None):
    return model.apply({"params": variables["params"]}, batch["inputs"])

  def eval_fn(variables, batch, rng):
    return {"loss": (forecasts(variables, batch) - batch["targets"]) ** 2}

  def loss_fn(variables, batch, rng):
    return Loss(eval_fn(variables, batch, rng)["loss"].mean())

  def measure_fn(variables, data, split, apply):
    examples = data.split(split)
    pairs = [(part["inputs"], part["targets"]) for part in (data.train, data.validation)]
    found = {
        "NRMSE": apply(forecasts, examples),
        "NRMSE of persistence": examples["inputs"][:, -1],
        "NRMSE of ridge": autoregression.select(*pairs)(examples["inputs"]),
    }
    return {name: normalized_rmse(y, examples["targets"]) for name, y in found.items()}

  def run_freely(variables, batch, rng, *, count):
    forecast = lambda values: forecasts(variables, {"inputs": values})  # noqa: E731
    return jax.vmap(lambda x: free_running(forecast, x, window, count))(batch["values"])

  def plot(variables, data, split, apply):
    examples = {name: array[:STRETCH] for name, array in data.split(split).items()}
    inputs, targets = examples["inputs"], examples["targets"]
    before = np.concatenate([inputs[0], inputs[1:horizon, -1]])  # All before the first target.
    run = functools.partial(run_freely, count=len(targets))
    panels = {
        f"{horizon} ahead": apply(forecasts, examples),
        "free-running": apply(run, {"values": before[None]}, chunk=1)[0],
    }
    original = lambda x: mean + std * np.float64(x)  # noqa: E731
    panels = {name: original(y) for name, y in panels.items()}
    return {f"forecasts_{split}": figures.forecasts(original(targets), panels)}

  def read(line):
    values = series.parse(line, config.data.column)
    if len(values) < window:
      raise UserError(f"{line}: expected {window} values or more, got {len(values)}")
    return (values[-window:] - mean) / std

  def predict(variables, lines, apply, *, json: bool = False):
    inputs = np.array([read(line) for line in lines], np.float32)
    found = mean + std * np.float64(apply(forecasts, {"inputs": inputs}))
    if json:
      return [{"input": line, "forecast": float(y)} for line, y in zip(lines, found)]
    return [f"{line}: {y:.6g}" for line, y in zip(lines, found)]

  return Task(
      init_fn, loss_fn, eval_fn, measure_fn=measure_fn, predict=predict, plot=plot,
      outputs_fn=forecasts, unit="squared error, standardized",
  )  # fmt: skip
