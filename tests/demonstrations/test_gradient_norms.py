"""The norms of gradients through time, against products of Jacobians."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from demonstrations import gradient_norms
import dlx
from dlx.layers import gru, lstm, rnn

STEPS, WIDTH = 6, 3


def draw(*shape, seed):
  return np.random.default_rng(seed).normal(size=shape)


def norms(module, cell, params, xs, d_last, run):
  carry = module.initial_carry(params, (), jnp.float64)
  return run(functools.partial(gradient_norms.norms, cell))(params, carry, xs, d_last)


@pytest.fixture(params=["eager", "jit"])
def run(request):
  return jax.jit if request.param == "jit" else lambda function: function


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("activation, derivative", [
    (jnp.tanh, lambda a: 1 - np.tanh(a) ** 2), (jax.nn.relu, lambda a: (a > 0).astype(float)),
])  # fmt: skip
def test_a_simple_network_agrees_with_the_product_of_its_jacobians(run, activation, derivative):
  """J_s = U diag(f'(a_s)) for rows, computed in numpy from the definition."""
  w, u, b = draw(WIDTH, WIDTH, seed=1), draw(WIDTH, WIDTH, seed=2), draw(WIDTH, seed=3)
  xs, d_last, h, slopes = draw(STEPS, WIDTH, seed=4), draw(WIDTH, seed=5), np.zeros(WIDTH), []
  for x in xs:
    a = x @ w + h @ u + b
    h, slope = np.asarray(activation(a)), derivative(a)
    slopes.append(slope)
  expected = [d := d_last]
  for slope in slopes[:0:-1]:
    d = u @ (slope * d)
    expected.append(d)
  cell = functools.partial(rnn.cell, activation=activation)
  found = norms(rnn, cell, {"input": w, "hidden": u, "bias": b}, xs, d_last, run)
  np.testing.assert_allclose(found, [np.linalg.norm(d) for d in expected[::-1]], rtol=1e-12)


@pytest.mark.sampled(2)
@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("module", [gru, lstm])
def test_a_gated_network_agrees_with_the_product_of_its_jacobians(run, module):
  """The Jacobian of each step by central differences of the cell's own values."""
  params = jax.tree.map(lambda p: jnp.asarray(draw(*p.shape, seed=p.size)),
                        module.init(jax.random.key(0), WIDTH, WIDTH))  # fmt: skip
  xs, two = draw(STEPS, WIDTH, seed=4), module is lstm
  size = 2 * WIDTH if two else WIDTH
  pack = lambda s: jnp.split(s, 2) if two else s  # noqa: E731
  flat = lambda carry: np.concatenate(carry) if two else np.asarray(carry)  # noqa: E731
  state, jacobians = np.zeros(size), []
  for x in xs:
    step = lambda s, x=x: flat(module.cell(params, pack(jnp.asarray(s)), x)[0])  # noqa: E731
    rows = [(step(state + e) - step(state - e)) / 2e-6 for e in 1e-6 * np.eye(size)]
    jacobians.append(np.stack(rows))  # (state before, state after).
    state = step(state)
  expected = [d := draw(size, seed=5)]
  for jacobian in jacobians[:0:-1]:
    d = jacobian @ d
    expected.append(d)
  d_last = tuple(np.split(expected[0], 2)) if two else expected[0]
  found = norms(module, module.cell, params, xs, d_last, run)
  np.testing.assert_allclose(found, [np.linalg.norm(d) for d in expected[::-1]], rtol=1e-7)


@pytest.mark.full
def test_a_trained_network_agrees_with_the_gradient_of_its_last_state(trained):
  params = dlx.load_run(trained("experiments.gru_lm:debug")).params
  layer, xs = params["recurrent"][0], params["embedding"]["embedding"][:9]
  carry = gru.initial_carry(layer, ())
  cell = functools.partial(gru.cell, reset_after=True)
  found = gradient_norms.norms(cell, layer, carry, xs, jnp.ones_like(carry))
  first, _ = cell(layer, carry, xs[0])
  d_first = jax.grad(lambda h: gru.scan(layer, xs[1:], h, reset_after=True)[0].sum())(first)
  assert float(found[0]) == pytest.approx(float(jnp.linalg.norm(d_first)), rel=1e-5)


@pytest.mark.full
def test_the_rates_of_the_page_at_initialization():
  """Also that relu's is sqrt(1/2) and that the LSTM remembers longest."""
  rates = {}
  for name in gradient_norms.NETWORKS:
    curve = gradient_norms.at_initialization(name, steps=60)
    assert curve[0] == pytest.approx(1), name
    rates[name] = curve[-1] ** (1 / 59)
  expected = {"RNN, tanh": 0.6, "RNN, relu": 0.7, "GRU": 0.65, "LSTM": 0.8}
  assert rates == pytest.approx(expected, abs=0.03)
  assert rates["RNN, relu"] == pytest.approx(0.5**0.5, abs=0.03)


def test_clipping_bounds_a_gradient_that_explodes_and_leaves_a_small_one():
  raw, clipped = gradient_norms.of_lengths([1, 20, 40], factor=1.6)
  assert raw[2] > 10 * raw[1] > 100
  np.testing.assert_allclose(clipped, np.minimum(raw, 1), rtol=1e-6)
  raw, clipped = gradient_norms.of_lengths([20, 40], factor=0.01)
  np.testing.assert_allclose(clipped, np.minimum(raw, 1), rtol=1e-6)
