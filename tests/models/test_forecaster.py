"""Forecasters against a loop over their cell; causality; free-running forecasts by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import series
from dlx.layers.recurrent import CELLS
from dlx.models.forecaster import Forecaster, free_running

pytestmark = pytest.mark.usefixtures("x64")

W = 6
NETWORKS = {
    **{name: {"network": name, "num_layers": 2} for name in CELLS},
    "causal": {"network": "transformer", "num_heads": 2, "d_ff": 7, "num_layers": 2},
    "encoder": {"network": "transformer", "num_heads": 2, "d_ff": 7, "is_causal": False},
    "sinusoidal": {
        "network": "transformer", "num_heads": 2, "d_ff": 7, "positions": "sinusoidal",
    },
}  # fmt: skip
each_network = pytest.mark.parametrize("name", NETWORKS)
WAYS = (lambda f: f, jax.jit)  # Eager and compiled.


@functools.lru_cache
def of(name):
  """(model, variables), with noise in every parameter."""
  model, rng = Forecaster(d_hidden=8, **NETWORKS[name]), np.random.default_rng(0)
  variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros(W))
  return model, jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), variables)


def values_of(*shape):
  return np.random.default_rng(1).normal(size=shape)


@pytest.mark.full
@pytest.mark.parametrize("network", CELLS)
def test_a_recurrent_forecast_adds_the_output_of_the_last_state(network):
  model, variables = of(network)
  params, windows, expected = variables["params"], values_of(2, W), []
  cell = jax.jit(CELLS[network].cell)
  for window in windows:
    inputs = [jnp.array([value]) for value in window]
    for layer in params["recurrent"]:
      carry, outputs = CELLS[network].initial_carry(layer, ()), []
      for x in inputs:
        carry, y = cell(layer, carry, x)
        outputs.append(y)
      inputs = outputs
    expected.append(window[-1] + inputs[-1] @ params["output"]["kernel"] + params["output"]["bias"])
  for compile_ in WAYS:
    found = compile_(model.apply)(variables, windows)
    np.testing.assert_allclose(found, np.ravel(expected), rtol=1e-12)


@pytest.mark.full
@pytest.mark.parametrize("name", ["gru", "encoder"])
def test_batches_are_examples_side_by_side(name):
  model, variables = of(name)
  windows, run = values_of(2, 2, W), jax.jit(model.apply)
  one_by_one = [[run(variables, window) for window in row] for row in windows]
  np.testing.assert_allclose(run(variables, windows), one_by_one, rtol=1e-12)


@pytest.mark.sampled(2)
@each_network
def test_a_forecast_depends_on_every_value_of_its_window_and_on_no_other(name, horizon=3):
  model, variables = of(name)
  count = 10
  split = series.windows(np.arange(count), slice(0, count), W, horizon)
  forecasts = lambda x: model.apply(variables, x[split["inputs"]])  # noqa: E731
  jacobian = np.asarray(jax.jit(jax.jacrev(forecasts))(jnp.asarray(values_of(count))))
  for row, target in zip(jacobian, split["targets"], strict=True):
    last = target - horizon
    window = np.arange(last - W + 1, last + 1)
    assert (row[window] != 0).all()
    assert (np.delete(row, window) == 0).all()


@pytest.mark.full
def test_a_causal_mask_changes_the_last_state_of_two_blocks_but_not_of_one():
  for name, equal in (("encoder", True), ("causal", False)):
    model, variables = of(name)
    other = model.copy(is_causal=not model.is_causal)
    found = [float(jax.jit(m.apply)(variables, values_of(W))) for m in (model, other)]
    assert (found[0] == pytest.approx(found[1], rel=1e-12)) == equal


@pytest.mark.parametrize("name", ["encoder", "sinusoidal"])
def test_positions_encode_the_order_of_the_values(name):
  model, variables = of(name)
  window = values_of(W)
  found, other = jax.jit(model.apply)(variables, np.stack([window, window[[1, 0, 2, 3, 4, 5]]]))
  assert abs(found - other) > 1e-3


@pytest.mark.parametrize("horizon", [1, 3])
def test_free_running_forecasts_read_their_own_forecasts(horizon):
  model, variables = of("rnn")
  forecast = jax.jit(lambda window: model.apply(variables, window))
  known = values_of(W + horizon - 1)
  line = list(known)
  for _ in range(9):
    last = len(line) - horizon
    line.append(float(forecast(jnp.array(line[last - W + 1 : last + 1]))))
  for compile_ in WAYS:
    found = compile_(lambda x: free_running(forecast, x, W, 9))(known)
    np.testing.assert_allclose(found, line[len(known) :], rtol=1e-12)
