"""Forecasting: the baselines and errors by hand, figures, predictions of values and tables."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import presets
from dlx.errors import UserError
from dlx.experiment import Data
from experiments.forecasting import config as configs
from experiments.forecasting import experiment

W = 5
ASSETS = {"mean": 100.0, "std": 20.0}


def task_of(**changes):
  changes = {"data.window": W, "model.d_hidden": 4, **changes}
  return experiment.make(presets.in_steps(configs.get_config("debug", changes), 10), ASSETS)


def variables_of(task):
  variables = jax.jit(task.init_fn)(jax.random.key(0), Data())
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda p: p + 0.3 * jnp.asarray(rng.normal(size=p.shape), p.dtype), variables)


def apply_with(variables):
  return lambda f, arrays, chunk=1: jax.device_get(jax.jit(f)(variables, arrays, None))


def splits_of(horizon=1, count=90):
  """Windows of a noisy wave by loops."""
  rng = np.random.default_rng(2)
  x = np.float32(np.sin(0.5 * np.arange(count)) + 0.3 * rng.normal(size=count))
  starts = range(count - W - horizon + 1)
  inputs = np.array([[x[i + j] for j in range(W)] for i in starts])
  targets = np.array([x[i + W - 1 + horizon] for i in starts])
  parts = (slice(0, 50), slice(50, 70), slice(70, None))
  return Data(*({"inputs": inputs[p], "targets": targets[p]} for p in parts))


def test_errors_of_network_persistence_and_ridge_by_hand():
  task, data = task_of(), splits_of()
  variables = variables_of(task)
  found = task.measure_fn(variables, data, "test", apply_with(variables))

  def error(forecasts, targets):
    mean = sum(targets) / len(targets)
    squares = [(y - t) ** 2 for y, t in zip(forecasts, targets, strict=True)]
    return (sum(squares) / sum((t - mean) ** 2 for t in targets)) ** 0.5

  test = {name: np.float64(array) for name, array in data.test.items()}
  network = task.outputs_fn(variables, data.test)
  assert found["NRMSE"] == pytest.approx(error(np.float64(network), test["targets"]), rel=1e-5)
  last = [row[-1] for row in test["inputs"]]
  assert found["NRMSE of persistence"] == pytest.approx(error(last, test["targets"]))

  def ridge(penalty):  # By least squares with a row for each penalized weight.
    x, y = np.float64(data.train["inputs"]), np.float64(data.train["targets"])
    rows = np.c_[np.sqrt(len(x) * penalty) * np.eye(W), np.zeros(W)]
    a = np.r_[np.c_[x, np.ones(len(x))], rows]
    return np.linalg.lstsq(a, np.r_[y, np.zeros(W)], rcond=None)[0]

  def of(weights, part):
    return np.c_[np.float64(part["inputs"]), np.ones(len(part["inputs"]))] @ weights

  validation = {
      p: error(of(ridge(p), data.validation), np.float64(data.validation["targets"]))
      for p in 10.0 ** np.arange(-12, 3)
  }
  best = ridge(min(validation, key=validation.get))
  assert found["NRMSE of ridge"] == pytest.approx(error(of(best, test), test["targets"]), rel=1e-6)
  assert found["NRMSE of ridge"] < found["NRMSE of persistence"]


def test_the_loss_is_the_mean_of_the_squared_errors():
  task, batch = task_of(), splits_of().test
  variables = variables_of(task)
  errors = task.eval_fn(variables, batch, None)["loss"]
  expected = (np.float64(task.outputs_fn(variables, batch)) - batch["targets"]) ** 2
  np.testing.assert_allclose(errors, expected, rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(task.loss_fn(variables, batch, None).value, expected.mean(), rtol=1e-5)


def test_a_network_whose_output_is_zero_is_persistence():
  task, data = task_of(), splits_of()
  variables = variables_of(task)
  zero = jax.tree.map(jnp.zeros_like, variables["params"]["output"])
  variables = {"params": {**variables["params"], "output": zero}}
  found = task.measure_fn(variables, data, "test", apply_with(variables))
  assert found["NRMSE"] == pytest.approx(found["NRMSE of persistence"], rel=1e-6)


@pytest.mark.full
@pytest.mark.parametrize("horizon", [1, 3])
def test_the_figure_shows_forecasts_of_the_targets_in_units_of_the_series(horizon):
  task, data = task_of(**{"data.horizon": horizon}), splits_of(horizon)
  variables = variables_of(task)
  (figure,) = task.plot(variables, data, "test", apply_with(variables)).values()
  ahead, free = ([line.get_ydata() for line in axes.lines] for axes in figure.axes)
  targets = 100 + 20 * np.float64(data.test["targets"])
  np.testing.assert_allclose(ahead[0], targets, rtol=1e-6)
  np.testing.assert_allclose(free[0], targets, rtol=1e-6)
  forecasts = 100 + 20 * np.float64(task.outputs_fn(variables, data.test))
  np.testing.assert_allclose(ahead[1], forecasts, rtol=1e-5)
  # Forecasts of the first values read true values only.
  np.testing.assert_allclose(free[1][:horizon], forecasts[:horizon], rtol=1e-5)
  assert abs(free[1][horizon] - forecasts[horizon]) > 1e-3


def predictions(task, lines, **options):
  variables = variables_of(task)
  return task.predict(variables, lines, apply_with(variables), **options)


def test_predictions_read_the_last_window_of_values_or_of_a_table(tmp_path):
  task = task_of()
  values = [90.0, 111.5, 102, 97, 130, 84, 101]
  window = jnp.float32([(v - 100) / 20 for v in values[-W:]])
  expected = 100 + 20 * float(task.outputs_fn(variables_of(task), {"inputs": window}))
  table = tmp_path / "x.csv"
  table.write_text("\n".join(["value", *map(str, values)]))
  lines = [" ".join(map(str, values)), ",".join(map(str, values[-W:])), str(table)]
  for line, found in zip(lines, predictions(task, lines), strict=True):
    assert found.rpartition(": ")[0] == line
    assert float(found.rpartition(": ")[2]) == pytest.approx(expected, rel=1e-5)
  for line, found in zip(lines, predictions(task, lines, json=True), strict=True):
    assert json.loads(json.dumps(found)) == {"input": line, "forecast": pytest.approx(expected)}


@pytest.mark.parametrize("line, message", [
    ("1 2 3 4", "expected 5 values or more, got 4"),
    ("the film", "got 'the'"),
    ("none.csv", "none.csv does not exist"),
])  # fmt: skip
def test_inputs_that_cannot_be_forecast_are_refused(line, message):
  with pytest.raises(UserError, match=message):
    predictions(task_of(), [line])


def test_a_trained_run_forecasts_on_the_command_line(programs, trained, tmp_path):
  workdir = trained("experiments.forecasting:debug")
  (tmp_path / "x.csv").write_text("\n".join(["value", *map(str, range(9))]))
  lines = " ".join(map(str, range(1, 9))), str(tmp_path / "x.csv")
  finished = programs("launch.predict", f"--workdir={workdir}", "--json", *lines)
  assert finished.code == 0, finished
  one, two = map(json.loads, finished.out.splitlines())
  assert one == {"input": lines[0], "forecast": two["forecast"]}
  finished = programs("launch.predict", f"--workdir={workdir}", "1 2 3")
  assert finished.code == 2 and finished.err.count("\n") == 1 and not finished.out
  assert "expected 8 values or more, got 3" in finished.err
