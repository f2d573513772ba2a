"""The ensemble: its members' outputs on the same documents, weights, exports, bad input."""

import dataclasses
import shutil

import jax
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import documents
from dlx.errors import UserError
from dlx.metrics import log_linear
from experiments.classifier_ensemble import config as configs
from experiments.classifier_ensemble import experiment

DEBUG = "experiments.classifier_ensemble:debug"
MEMBERS = ("experiments.ngram_classifier:debug", "experiments.transformer_sentiment:debug")
LINES = ("the film was not dull", "her acting was noisy and the ending was great")


def log_p(run, lines):
  rows = run.predict(lines, json=True)
  p = [[row["probabilities"][c] for c in documents.SENTIMENTS] for row in rows]
  return np.log(np.float64(p))


@pytest.mark.full
def test_the_pool_is_the_weighted_product_of_its_members(trained):
  run, members = dlx.load_run(trained(DEBUG)), [dlx.load_run(trained(m)) for m in MEMBERS]
  weights = np.asarray(run.params["weights"], float)
  z = sum(w * log_p(member, LINES) for w, member in zip(weights, members))
  expected = z - np.log(np.exp(z).sum(-1, keepdims=True))
  np.testing.assert_allclose(log_p(run, LINES), expected, atol=1e-4)
  validation = documents.from_options(members[0].config.data).validation
  by_members = np.stack([log_p(member, validation.texts) for member in members])
  np.testing.assert_allclose(log_linear.fit(by_members, validation.labels), weights, atol=2e-3)


@pytest.mark.full
def test_the_members_accuracies_are_those_of_their_own_runs(trained):
  found = dlx.load_run(trained(DEBUG)).evaluate("test")
  for i, preset in enumerate(MEMBERS):
    name = preset.partition(":")[0].removeprefix("experiments.")
    alone = dlx.load_run(trained(preset)).evaluate("test")
    assert found[f"accuracy of member {i}, {name}"] == alone["accuracy"]


@pytest.mark.full
def test_a_finished_ensemble_needs_no_member(trained, tmp_path):
  folders = [shutil.copytree(trained(m), tmp_path / str(i)) for i, m in enumerate(MEMBERS)]
  config = configs.get_config("debug", {"members": ",".join(map(str, folders))})
  run = dlx.load_run(dlx.train(config, tmp_path / "run"))
  expected = run.predict(LINES)
  for folder in folders:
    shutil.rmtree(folder)
  dlx.train(config, tmp_path / "run")  # Already trained.
  again = dlx.load_run(tmp_path / "run")
  assert again.predict(LINES) == expected
  jax.tree.map(np.testing.assert_array_equal, again.variables, run.variables)
  assert again.evaluate("test") == run.evaluate("test")


@pytest.mark.full
def test_weights_of_another_ensemble_are_taken_for_members_that_know_the_validation(
    trained, tmp_path
):
  refit = trained(MEMBERS[0], "--config.data.refit=True")
  changes = {"members": f"{refit},{trained(MEMBERS[1])}"}
  with pytest.raises(UserError, match="on the validation documents too.*config.weights_from"):
    experiment.load(configs.get_config("debug", changes))
  changes["weights_from"] = str(trained(DEBUG))
  run = dlx.load_run(dlx.train(configs.get_config("debug", changes), tmp_path / "run"))
  first = dlx.load_run(trained(DEBUG))
  np.testing.assert_array_equal(run.params["weights"], first.params["weights"])
  assert run.predict(LINES) != first.predict(LINES)
  changes["members"] = f"{trained(MEMBERS[1])},{refit}"
  with pytest.raises(UserError, match="has no weights for .*transformer_sentiment, exp.*same ord"):
    dlx.train(configs.get_config("debug", changes), tmp_path / "other")


@pytest.mark.full
def test_runs_that_do_not_belong_together_are_refused(trained):
  run, ensemble = dlx.load_run(trained(MEMBERS[0])), dlx.load_run(trained(DEBUG))

  def with_data(**changes):
    config = run.config.copy_and_resolve_references()
    with config.unlocked():
      config.data.update(changes)
    return dataclasses.replace(run, config=config)

  experiment.check_data([run, with_data(max_length=9)])
  experiment.check_data([run, with_data(text_column="sentence")])  # Not read without a table.
  tables = [with_data(file="a.csv", text_column=name) for name in ("text", "body")]
  with pytest.raises(UserError, match="data.text_column is 'text' and 'body'"):
    experiment.check_data(tables)
  with pytest.raises(UserError, match="is an ensemble itself; name its members instead"):
    experiment.check_data([run, ensemble])
  with pytest.raises(UserError, match="other documents: data.num_validation is 40 and 60"):
    experiment.check_data([run, with_data(num_validation=60)])
  with pytest.raises(UserError, match="on the validation documents too.*data.refit=False"):
    experiment.check_data([with_data(refit=True), run])
  folders = f"{trained(MEMBERS[0])},{trained('experiments.vae:debug')}"
  with pytest.raises(UserError, match="experiments.vae, which does not classify documents"):
    experiment.load(configs.get_config("debug", {"members": folders}))
  twice = f"{trained(MEMBERS[0])}, {trained(MEMBERS[0])}"
  with pytest.raises(UserError, match=f"{trained(MEMBERS[0])} is named twice; name each run once"):
    experiment.load(configs.get_config("debug", {"members": twice}))
  with pytest.raises(UserError, match="config.members is .*; expected folders of runs"):
    presets.check(configs.get_config("debug", {"members": "runs/ngrams,"}))
