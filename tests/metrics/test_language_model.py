"""Metrics of language models on a table of bigrams with a counter as the state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import batches
from dlx.data.vocabulary import Characters
from dlx.experiment import Data
from dlx.metrics import calibration, language_model
from dlx.training import sharding
from dlx.training.evaluation import make_apply

LOGITS = np.random.default_rng(0).normal(size=(5, 5)).astype(np.float32)


def tokens_of(temperature, count, seed):
  """A text drawn from the bigrams of LOGITS / temperature."""

  def step(token, rng):
    token = jax.random.categorical(rng, jnp.asarray(LOGITS)[token] / temperature)
    return token, token

  keys = jax.random.split(jax.random.key(seed), count)
  return np.asarray(jax.lax.scan(step, jnp.int32(0), keys)[1])


def token_losses(variables, batch, bonus=0.0):
  """-log p of each target, plus a bonus that stands for a state."""
  logits = jnp.asarray(variables["params"]["output"])[batch["inputs"]]
  log_p = jax.nn.log_softmax(language_model.calibrated(variables, logits))
  return -jnp.take_along_axis(log_p, batch["targets"][..., None], -1)[..., 0] + bonus


def eval_fn(variables, batch, rng):
  found = token_losses(variables, batch)
  return {"loss": (found, jnp.ones_like(found))}


def stream_fn(variables, batch, rng):
  """The state counts the sequences of a stream (B, S, T), starting from 0."""
  count = jnp.arange(batch["inputs"].shape[1])[:, None]
  return token_losses(variables, batch, bonus=count).mean((1, 2))


VARIABLES, VOCABULARY = {"params": {"output": LOGITS}}, Characters(" abcd")


@pytest.fixture(scope="module")
def measured():
  splits = {
      name: batches.windows(name, tokens_of(1.5, 8001 - 4000 * i, i), 10)
      for i, name in enumerate(("validation", "test"))
  }
  data = Data(**splits)
  apply = make_apply(VARIABLES, sharding.make_mesh(), chunk=64)
  measure = language_model.make_measure(eval_fn, VOCABULARY, stream_fn)
  return data, {name: measure(VARIABLES, data, name, apply) for name in splits}


def test_the_temperature_is_that_of_the_validation_split(measured):
  _, metrics = measured
  temperature = metrics["test"]["temperature"]
  assert temperature == metrics["validation"]["temperature"]
  assert temperature == pytest.approx(1.5, rel=0.1)  # Estimated from 8,000 draws.


def test_metrics_equal_loops_over_the_tokens(measured):
  data, metrics = measured
  found, test = metrics["test"], data.test
  for name, temperature in (("", 1.0), (" at the temperature", found["temperature"])):
    losses = np.asarray(token_losses({"params": {"output": LOGITS / temperature}}, test))
    loss = np.log(found["perplexity"]) if not name else found["loss at the temperature"]
    assert loss == pytest.approx(losses.mean(), rel=1e-5)
    # Eight streams of 50 sequences each: the state is carried from sequence to sequence.
    assert found[f"stateful loss{name}"] == pytest.approx(losses.mean() + 49 / 2, rel=1e-5)
  assert found["tokens"] == 4000
  words = "".join(" abcd"[i] for i in test["targets"].ravel()).split()
  expected = np.exp(np.log(found["perplexity"]) * 4000 / len(words))
  assert found["perplexity per word"] == pytest.approx(expected)


def test_without_a_state_there_are_no_stateful_metrics(measured):
  data, metrics = measured
  apply = make_apply(VARIABLES, sharding.make_mesh())
  measure = language_model.make_measure(eval_fn, VOCABULARY)
  found = measure(VARIABLES, data, "test", apply)
  expected = {k: v for k, v in metrics["test"].items() if not k.startswith("stateful")}
  assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("best, expected", [(1.3, 1.3), (0.1, 0.5), (9.0, 2.0)])
def test_the_temperature_is_the_minimum_between_a_half_and_two(best, expected):
  found = calibration.fit_temperature(lambda t: (t - best) ** 2)
  assert found == pytest.approx(expected, abs=2e-3)
