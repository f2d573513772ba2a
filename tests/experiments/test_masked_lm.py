"""Masked language modelling: the loss counts masked tokens only; [MASK] is filled."""

import jax
import numpy as np
import pytest

import dlx
from dlx.data import tokens
from dlx.errors import UserError
from dlx.training import train
from experiments.masked_lm import config as configs


@pytest.fixture(scope="module")
def run() -> train.Prepared:
  return train.prepare(configs.get_config("debug"), None)


def test_metrics_are_of_masked_tokens_only(run):
  variables = run.task.init_fn(jax.random.key(0), run.data)
  batch = {k: v for k, v in run.data.train.items() if k != "text"}
  metrics = jax.jit(run.task.eval_fn)(variables, batch, jax.random.key(0))
  vocab_size = run.data.assets["encoder"]["vocab_size"]
  assert abs(float(metrics["loss"].mean()) - np.log(vocab_size)) < 1.5
  # A bias that always predicts the most frequent token is right for its fraction of the tokens.
  words = batch["ids"][batch["ids"] >= len(tokens.SPECIAL)]
  common = np.bincount(words).argmax()
  params = variables["params"]
  sure = {"params": {**params, "bias": params["bias"].at[common].set(100.0)}}
  metrics = jax.jit(run.task.eval_fn)(sure, batch, jax.random.key(0))
  assert float(metrics["accuracy"].mean()) == pytest.approx((words == common).mean(), abs=0.08)


def test_masks_differ_with_the_key_and_not_with_anything_else(run):
  variables = run.task.init_fn(jax.random.key(0), run.data)
  batch = {k: v[:8] for k, v in run.data.train.items() if k != "text"}
  loss_of = jax.jit(run.task.eval_fn)
  losses = [np.asarray(loss_of(variables, batch, jax.random.key(k))["loss"]) for k in (0, 1, 0)]
  np.testing.assert_array_equal(losses[0], losses[2])
  assert np.abs(losses[0] - losses[1]).max() > 1e-3


def test_a_trained_model_fills_masks(trained):
  run = dlx.load_run(trained("experiments.masked_lm:debug"))
  metrics = dlx.evaluate(run, "test")
  ids = run.experiment.load(run.config, run.assets).test["ids"]
  words = ids[ids >= len(tokens.SPECIAL)]
  most_frequent = (words == np.bincount(words).argmax()).mean()
  assert metrics["accuracy"] > most_frequent + 0.05 and metrics["loss"] < 3.0
  first, second = dlx.predict(run, ["the plot [MASK] dull", "her [MASK] was great"], top=2)
  assert first.startswith("the plot [MASK] dull: was ") and len(second.split(", ")) == 2
  with pytest.raises(UserError, match="'no mask here' has no .MASK."):
    list(dlx.predict(run, ["no mask here"]))
