"""Feed-forward networks: curves and planes that lines cannot fit, full batches, bad sizes."""

import fitted
import jax
import numpy as np
import pytest

from dlx import presets
from dlx.errors import UserError
from dlx.experiment import Rngs
from dlx.training import train as training
from experiments.mlp import config as configs
from experiments.mlp import experiment


def fit(preset, **changes):
  return fitted.fit(configs.get_config(preset, changes))


@pytest.mark.full
def test_moons_need_a_hidden_layer():
  steps = {"training.total_steps": 200}
  run = fit("moons", **{"model.sizes": "16-16", **steps})
  assert run.measure()["accuracy"] > 0.97
  assert "plane_validation" in run.plot()
  assert run.predict(["x=0,y=1"])[0].startswith("x=0,y=1: first")
  assert 0.8 < fit("moons", **{"model.sizes": "", **steps}).measure()["accuracy"] < 0.92


def test_a_curve_is_fitted_where_a_square_is_not_enough():
  """Of one hidden layer, z^2 makes polynomials of degree 2; a sine's period needs degree 3."""
  changes = {"training.total_steps": 600, "model.sizes": "16"}
  runs = {f: fit("curve", **changes, **{"model.activation": f}) for f in ("tanh", "square")}
  errors = {name: run.measure()["RMSE"] for name, run in runs.items()}
  assert errors["tanh"] < 0.36 and errors["square"] > 0.4  # The noise alone: 0.3.
  assert "curve_validation" in runs["tanh"].plot()


def task_of(preset, **changes):
  config = configs.get_config(preset, changes)
  data = experiment.load(config)
  resolved = presets.in_steps(config, training.steps_per_epoch(config, data))
  task = training.complete(experiment.make(resolved, data.assets), resolved)
  return data, task


def test_without_a_batch_size_a_step_reads_all_examples():
  data, task = task_of("debug_curve")
  assert training.steps_per_epoch(configs.get_config("debug_curve"), data) == 1
  key = jax.random.key(0)
  batch = task.batch_fn(data.train, 0, Rngs(key, key))
  np.testing.assert_array_equal(batch["inputs"], data.train["inputs"])
  assert (np.asarray(batch["weights"]) == 1).all() and len(batch["weights"]) == 30
  variables = task.init_fn(key, data)
  z = task.outputs_fn(variables, data.train)
  expected = np.mean((np.asarray(z) - data.train["targets"]) ** 2)
  assert float(task.loss_fn(variables, batch, key).value) == pytest.approx(float(expected))


def test_devices_that_cannot_share_all_examples_equally_leave_copies_out(on_eight_devices):
  program = """
import jax, numpy as np
from dlx.data import batches
x = np.arange(13.0)
batch = batches.all_examples({"x": x}, 0, None)
print(len(batch["x"]), float((batch["x"] * batch["weights"]).sum()), float(batch["weights"].sum()))
"""
  assert on_eight_devices(program) == ["16 78.0 13.0"]


@pytest.mark.parametrize("sizes", ["0", "16-", "-16", "a", "16 8", "9999999"])
def test_wrong_sizes_are_refused(sizes):
  with pytest.raises(UserError, match='sizes .* expected layer sizes such as "256-128"'):
    presets.check(configs.get_config("debug", {"model.sizes": sizes}))
