"""Mixtures of runs of different experiments."""

import json

import jax
import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.training import mixture

GRU, NGRAM = "experiments.gru_lm:debug", "experiments.ngram_lm:debug"
TRANSFORMER = "experiments.transformer_lm:debug"


@pytest.mark.sampled(1)
@pytest.mark.parametrize("preset", [GRU, NGRAM, TRANSFORMER])
def test_probabilities_of_tokens_have_the_mean_of_the_evaluation(trained, preset):
  run = dlx.load_run(trained(preset))
  data = run.experiment.load(run.config, run.assets)
  log_p = mixture._log_probabilities([run], [data], "test")
  assert log_p.shape == (data.test["targets"].size, 1) and (log_p < 0).all()
  expected = jax.jit(run.task.eval_fn)(run.eval_variables, data.test, jax.random.key(0))["loss"]
  assert -log_p.mean() == pytest.approx(float(expected[0].mean()), rel=1e-5)


@pytest.mark.full
def test_a_mixture_is_no_worse_than_its_models(trained, programs):
  workdirs = [str(trained(preset)) for preset in (NGRAM, GRU)]
  gru, ngram, mixed = mixture.evaluate([dlx.load_run(w) for w in workdirs[::-1]], "validation")
  assert gru["weight"] + ngram["weight"] == pytest.approx(1)
  assert mixed["loss"] <= min(gru["loss"], ngram["loss"]) + 1e-7
  assert mixed["perplexity"] == pytest.approx(np.exp(mixed["loss"]))
  for row in (gru, ngram):
    saved = dlx.load_run(row["name"]).evaluate("validation")
    assert row["loss"] == pytest.approx(saved["loss"], rel=1e-5)
    assert row["perplexity per word"] == pytest.approx(saved["perplexity per word"], rel=1e-4)
  finished = programs("launch.mixture", "--split=validation", "--json", *workdirs)
  assert finished.code == 0, finished
  rows = [json.loads(line) for line in finished.out.splitlines()]
  assert [row["name"] for row in rows] == [*workdirs, "mixture"]
  assert rows[-1]["loss"] == pytest.approx(mixed["loss"], rel=1e-6)


def test_runs_that_cannot_be_mixed_are_refused(trained):
  runs = {p: dlx.load_run(trained(p)) for p in (GRU, TRANSFORMER, "experiments.vae:debug")}
  with pytest.raises(UserError, match="is not a language model; leave it out"):
    mixture.evaluate([runs[GRU], runs["experiments.vae:debug"]])
  with pytest.raises(UserError, match="do not predict the same test tokens.*eval_seq_len"):
    mixture.evaluate([runs[GRU], runs[TRANSFORMER]])
  with pytest.raises(UserError, match="split: expected validation, test or their sum, got 'dev'"):
    mixture.evaluate([runs[GRU], runs[GRU]], "dev")
