"""A small experiment, linear regression, in a package of its own."""

import importlib
import shutil
import sys

import pytest

import dlx
from dlx.runs.checkpoints import Checkpoints

CONFIG = '''
"""Linear regression."""

from dlx import presets, settings
from dlx.settings import count

SETTINGS = {
    "data.batch_size": count(8),
    "data.num_train": count(64),
    **settings.adamw(learning_rate=0.1, warmup_steps=2, decay="constant"),
    **settings.training(total_steps=12, steps_per_execution=3, eval_every=4, save_every=6,
                        eval_batch_size=16),
}
PRESETS = {
    "debug": {},
    "cosine": {"optimizer.decay": "cosine"},
    "solved": {"training.total_steps": 0},
}
get_config = presets.make("linear_regression", SETTINGS, PRESETS)
'''

EXPERIMENT = '''
"""y = w x + b, with x standardized by the mean of the training split."""

import jax
import jax.numpy as jnp
import numpy as np

from dlx.experiment import Data, Loss, Task
from dlx.reports import figures

SLOPES = np.float32([1, -2, 3])


def load(config, assets=None):
  x = np.random.default_rng(0).normal(1.0, size=(config.data.num_train + 40, 3))
  x = x.astype(np.float32)
  y = x @ SLOPES
  n = config.data.num_train
  assets = assets or {"mean": x[:n].mean(0), "names": ["a", "b", "c"]}
  split = lambda start, stop: {
      "x": x[start:stop], "y": y[start:stop],
      "name": np.array([f"row {i}" for i in range(start, stop)], object),
  }
  train = {name: x for name, x in split(0, n).items() if name != "name"}
  return Data(train, split(n, n + 30), split(n + 30, n + 40), assets)


def make(config, assets):
  mean = jnp.asarray(assets["mean"])

  def outputs_fn(variables, batch):
    params = variables["params"]
    return (batch["x"] - mean) @ params["w"] + params["b"]

  def init_fn(rng, data):
    params = {"w": jnp.zeros(3), "b": jnp.zeros(())}
    if not config.training.total_steps:  # Least squares.
      x = jnp.concatenate([data.train["x"] - mean, jnp.ones((len(data.train["x"]), 1))], 1)
      solution = jnp.linalg.lstsq(x, data.train["y"])[0]
      params = {"w": solution[:3], "b": solution[3]}
    return {"params": params, "seen": jnp.zeros((), jnp.int32)}

  def loss_fn(variables, batch, rng):
    error = outputs_fn(variables, batch) - batch["y"]
    updated = {"seen": variables["seen"] + len(error)}
    return Loss((error**2).mean(), {"largest": jnp.abs(error).max()}, updated)

  def eval_fn(variables, batch, rng):
    error = outputs_fn(variables, batch) - batch["y"]
    return {"loss": error**2, "accuracy": jnp.abs(error) < 1}

  def measure_fn(variables, data, split, apply):
    examples = data.split(split)
    found = apply(lambda v, batch, rng: outputs_fn(v, batch), examples)
    return {"R2": 1 - ((found - examples["y"]) ** 2).sum() / examples["y"].var() / len(found)}

  def plot(variables, data, split, apply):
    figure = figures.figure(2, 2)
    figure.subplots().plot(variables["params"]["w"])
    return {"weights": figure, "names": " ".join(data.split(split).get("name", []))}

  def sample(variables, rng, *, count=2):
    return (f"{float(y):.3f}\\n" for y in jax.random.normal(rng, (count,)))

  def predict(variables, lines, apply, *, digits=2):
    x = np.array([line.split() for line in lines], np.float32)
    y = apply(lambda v, batch, rng: outputs_fn(v, batch), {"x": x})
    return [f"{value:.{digits}f}" for value in y]

  return Task(
      init_fn, loss_fn, eval_fn, measure_fn=measure_fn, plot=plot, sample=sample,
      predict=predict, outputs_fn=outputs_fn, training_only=("seen",),
  )
'''


@pytest.fixture(scope="session")
def linear_regression(tmp_path_factory):
  """(config module, experiment module) of the package linear_regression."""
  folder = tmp_path_factory.mktemp("packages")
  package = folder / "linear_regression"
  package.mkdir()
  (package / "__init__.py").touch()
  (package / "config.py").write_text(CONFIG)
  (package / "experiment.py").write_text(EXPERIMENT)
  sys.path.insert(0, str(folder))
  try:
    yield tuple(importlib.import_module(f"linear_regression.{m}") for m in ("config", "experiment"))
  finally:
    sys.path.remove(str(folder))
    for name in [name for name in sys.modules if name.partition(".")[0] == "linear_regression"]:
      del sys.modules[name]


@pytest.fixture
def get_config(linear_regression):
  return linear_regression[0].get_config


@pytest.fixture
def experiment(linear_regression):
  return linear_regression[1]


@pytest.fixture(scope="session")
def trained(linear_regression, tmp_path_factory):
  """The folder of an uninterrupted run of the preset debug, not to be changed."""
  workdir = tmp_path_factory.mktemp("trained") / "run"
  assert dlx.train(linear_regression[0].get_config("debug"), workdir) == workdir
  return workdir


@pytest.fixture
def copied(trained, tmp_path):
  """A copy of that folder."""
  return shutil.copytree(trained, tmp_path / "copied")


@pytest.fixture
def change_task(experiment, monkeypatch):
  """`change_task(**changes)`: the experiment's task with other functions."""
  make = experiment.make

  def change(**changes):
    monkeypatch.setattr(experiment, "make", lambda *args: make(*args)._replace(**changes))

  return change


def last_state(workdir):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(checkpoints.steps[-1])


def contents(folder):
  paths = (path for path in folder.rglob("*") if path.is_file())
  return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


class Files:
  """What a run has written; a fixture, since tests cannot import each other.

  contents(folder): {path: bytes} of all files.
  results(folder): the same without the records of starts.
  last_state(workdir): the latest checkpoint as nested dicts.
  """

  last_state = staticmethod(last_state)
  contents = staticmethod(contents)

  @staticmethod
  def results(folder):
    return {
        name: content
        for name, content in contents(folder).items()
        if not name.endswith(("run.json", "record.json")) and "tensorboard" not in name
    }


@pytest.fixture
def files():
  return Files
