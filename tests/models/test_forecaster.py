"""Forecasters against a loop over their cell; causality; free-running forecasts by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import series
from dlx.models.forecaster import CELLS, Forecaster, free_running

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
each_network = pytest.mark.parametrize("options", NETWORKS.values(), ids=NETWORKS)
each_way = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def make(**options):
  """(model, variables), with noise in every parameter."""
  model, rng = Forecaster(d_hidden=8, **options), np.random.default_rng(0)
  variables = model.init(jax.random.key(0), jnp.zeros(W))
  return model, jax.tree.map(lambda p: p + 0.3 * rng.normal(size=p.shape), variables)


def values_of(*shape):
  return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize("network", CELLS)
@each_way
def test_a_recurrent_forecast_adds_the_output_of_the_last_state(network, compile_):
  model, variables = make(network=network, num_layers=2)
  params, windows = variables["params"], values_of(3, W)
  expected = []
  for window in windows:
    inputs = [jnp.array([value]) for value in window]
    for layer in params["recurrent"]:
      carry, outputs = CELLS[network].initial_carry(layer, ()), []
      for x in inputs:
        carry, y = CELLS[network].cell(layer, carry, x)
        outputs.append(y)
      inputs = outputs
    expected.append(window[-1] + inputs[-1] @ params["output"]["kernel"] + params["output"]["bias"])
  found = compile_(model.apply)(variables, windows)
  np.testing.assert_allclose(found, np.ravel(expected), rtol=1e-12)


@each_network
@each_way
def test_batches_are_examples_side_by_side(options, compile_):
  model, variables = make(**options)
  windows = values_of(2, 3, W)
  found = compile_(model.apply)(variables, windows)
  one_by_one = [[model.apply(variables, window) for window in row] for row in windows]
  np.testing.assert_allclose(found, one_by_one, rtol=1e-12)


@each_network
@pytest.mark.parametrize(
    "compile_, horizon", [(lambda f: f, 3), (jax.jit, 1)], ids=["eager", "jit"]
)
def test_a_forecast_depends_on_every_value_of_its_window_and_on_no_other(
    options, compile_, horizon
):
  model, variables = make(**options)
  count = 14
  split = series.windows(np.arange(count), slice(0, count), W, horizon)
  forecasts = compile_(lambda x: model.apply(variables, x[split["inputs"]]))
  jacobian = np.asarray(compile_(jax.jacrev(forecasts))(jnp.asarray(values_of(count))))
  for row, target in zip(jacobian, split["targets"], strict=True):
    last = target - horizon
    window = np.arange(last - W + 1, last + 1)
    assert (row[window] != 0).all()
    assert (np.delete(row, window) == 0).all()


def test_the_last_state_of_one_block_reads_the_window_in_both_transformers_alike():
  window = values_of(W)
  for num_layers, equal in ((1, True), (2, False)):
    options = {**NETWORKS["causal"], "num_layers": num_layers}
    causal, variables = make(**options)
    encoder, _ = make(**options, is_causal=False)
    one, other = (float(model.apply(variables, window)) for model in (causal, encoder))
    assert (one == pytest.approx(other, rel=1e-12)) == equal


@pytest.mark.parametrize("name", ["encoder", "sinusoidal"])
def test_positions_encode_the_order_of_the_values(name):
  model, variables = make(**NETWORKS[name])
  window = values_of(W)
  found, other = (model.apply(variables, x) for x in (window, window[[1, 0, *range(2, W)]]))
  assert abs(found - other) > 1e-3


@each_way
@pytest.mark.parametrize("horizon", [1, 3])
def test_free_running_forecasts_read_their_own_forecasts(compile_, horizon):
  model, variables = make(network="rnn")
  forecast = lambda window: model.apply(variables, window)  # noqa: E731
  known = values_of(W + horizon - 1)
  run = compile_(lambda x: free_running(forecast, x, W, 9))
  line = list(known)
  for _ in range(9):
    last = len(line) - horizon
    line.append(float(forecast(jnp.array(line[last - W + 1 : last + 1]))))
  np.testing.assert_allclose(run(known), line[len(known) :], rtol=1e-12)
