"""Inputs that a model draws itself, and its schedule over a run."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.layers import gru
from dlx.models import generation

V = 5
INPUTS = np.random.default_rng(0).integers(0, V, (3, 9))


@pytest.fixture(scope="module")
def variables():
  params = gru.init(jax.random.key(0), V, 6)
  output = jax.random.normal(jax.random.key(1), (6, V))
  return {"params": {"gru": params, "output": output}}


def network(variables, ids, carry):
  params = variables["params"]
  carry, ys = gru.scan(params["gru"], jax.nn.one_hot(ids, V), carry)
  return ys @ params["output"], carry


def sharp(variables, ids, carry):
  """A network that gives its likeliest token all the probability."""
  logits, carry = network(variables, ids, carry)
  return 1e4 * logits, carry


def sampled(network, variables, inputs, rate, seed=0):
  draw = jax.jit(lambda v, x, r: generation.sampled_inputs(  # fmt: skip
      jax.random.key(seed), network, v, None, x, r
  ))
  return np.asarray(draw(variables, inputs, jnp.asarray(rate, float)))


def test_a_rate_of_zero_keeps_the_text(variables):
  np.testing.assert_array_equal(sampled(network, variables, INPUTS, 0.0), INPUTS)


@pytest.mark.full
def test_a_rate_of_one_runs_freely_from_the_first_token(variables):
  expected = INPUTS[:, :1]
  for _ in range(8):
    logits, _ = network(variables, expected, None)
    expected = np.concatenate([expected, np.argmax(logits[:, -1:], -1)], 1)
  np.testing.assert_array_equal(sampled(sharp, variables, INPUTS, 1.0), expected)
  other = INPUTS.copy()
  other[:, 1:] = 0
  np.testing.assert_array_equal(sampled(sharp, variables, other, 1.0), expected)


@pytest.mark.full
def test_a_draw_follows_the_inputs_that_were_drawn_before(variables):
  rate = (np.arange(1, 9) >= 4).astype(float)
  expected = INPUTS[:, :4]
  for _ in range(5):
    logits, _ = network(variables, expected, None)
    expected = np.concatenate([expected, np.argmax(logits[:, -1:], -1)], 1)
  np.testing.assert_array_equal(sampled(sharp, variables, INPUTS, rate), expected)


def test_the_rate_is_the_share_of_draws(variables):
  inputs = np.full((200, 40), V)  # No token that is drawn: its one-hot vector is 0.
  found = sampled(network, variables, inputs, 0.3)
  assert (found[:, 1:] != V).mean() == pytest.approx(0.3, abs=0.02)
  assert (found[:, 0] == V).all()


@pytest.mark.full
def test_no_gradient_flows_through_draws(variables):
  def loss(variables, inputs):
    return network(variables, inputs, None)[0].sum()

  def scheduled(variables):
    rng = jax.random.key(3)
    return loss(variables, generation.sampled_inputs(rng, network, variables, None, INPUTS, 0.5))

  drawn = sampled(network, variables, INPUTS, 0.5, seed=3)
  expected = jax.grad(loss)(variables, drawn)
  jax.tree.map(
      lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
      jax.grad(scheduled)(variables), expected,
  )  # fmt: skip


@pytest.mark.parametrize("schedule, rates", [("linear", (0.0, 0.4)), ("constant", (0.8, 0.8))])
def test_the_rate_grows_over_the_run_unless_it_is_constant(variables, schedule, rates):
  options = SimpleNamespace(rate=0.8, schedule=schedule)
  inputs_of = generation.make_schedule(options, 100)
  inputs = np.full((200, 40), V)
  for step, rate in zip((0, 50), rates):
    batch = {"inputs": inputs, "step": jnp.int32(step)}
    found = jax.jit(lambda b: inputs_of(jax.random.key(0), network, variables, None, b))(batch)
    assert (found[:, 1:] != V).mean() == pytest.approx(rate, abs=0.02)


def test_without_sampled_inputs_a_batch_keeps_its_own(variables):
  inputs_of = generation.make_schedule(SimpleNamespace(rate=0.0, schedule="linear"), 100)
  assert inputs_of(None, network, variables, None, {"inputs": INPUTS}) is INPUTS
