"""The classifier of segments: what it learns, labels it must not see, bad input."""

import jax
import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.experiment import numeric
from experiments.classifier_ensemble import config as ensembles
from experiments.segment_classifier import config as configs
from experiments.segment_classifier import experiment
from tests.halves import train_vectors, write

DATA = {"data.num_validation": 60}


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  return write(tmp_path_factory.mktemp("data") / "texts.tsv", 400)


@pytest.fixture(scope="module")
def vectors(table, tmp_path_factory):
  """A run of document vectors."""
  return train_vectors(table, tmp_path_factory.mktemp("runs") / "vectors")


def config_of(vectors, table, **changes):
  return configs.get_config(
      "debug", {"init_from": str(vectors), "data.file": table, **DATA, **changes}
  )


@pytest.fixture(scope="module")
def run(vectors, table, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "segments"
  dlx.train(config_of(vectors, table), workdir)
  return dlx.load_run(workdir)


@pytest.fixture(scope="module")
def data(run):
  return experiment.load(run.config, run.assets)


def test_it_learns_where_a_document_says_something(run):
  assert run.evaluate("test")["accuracy"] > 0.95


def test_the_labels_of_evaluated_documents_change_nothing(run, data):
  """Only training documents are counted: their labels have to be left out, those of others not."""
  batch = numeric(data.test)
  logits = run.task.outputs_fn(run.eval_variables, batch)
  other = run.task.outputs_fn(run.eval_variables, {**batch, "labels": 1 - batch["labels"]})
  np.testing.assert_array_equal(logits, other)


def test_the_evidence_of_a_run_is_trained_by_nobody(run, vectors):
  start = dlx.load_run(vectors).eval_variables["vectors"]
  start = start / np.linalg.norm(start, axis=1, keepdims=True)
  np.testing.assert_allclose(run.eval_variables["evidence"]["vectors"], start, atol=1e-6)


def test_the_loss_of_training_documents_leaves_their_labels_out(run, data):
  """With its own label a document is told more surely than without."""
  train = {name: array[:100] for name, array in numeric(data.train).items()}
  labels = train["labels"]
  p = jax.nn.log_softmax(run.task.outputs_fn(run.eval_variables, train))
  with_own = -np.mean(np.asarray(p)[np.arange(100), labels])
  without = float(run.task.loss_fn(run.eval_variables, train, jax.random.key(0)).value)
  assert 1.002 * with_own < without


def test_predictions_do_not_depend_on_other_lines(run):
  lines = ["red1 red2 red3 w green4 green5", "green4 w red1 " * 20, "unknown words only"]
  assert run.predict(lines) == [run.predict([line])[0] for line in lines]
  with pytest.raises(UserError, match="' ' has no words"):
    run.predict(["fine", " "])


def test_it_is_a_member_of_an_ensemble(run, vectors, tmp_path):
  members = ",".join(str(folder) for folder in (vectors, run.workdir))
  dlx.train(ensembles.get_config("runs", {"members": members}), tmp_path / "pool")
  pool = dlx.load_run(tmp_path / "pool")
  assert pool.evaluate("test")["accuracy"] > 0.95


def test_other_runs_and_runs_that_know_the_validation_documents_are_refused(
    vectors, table, trained
):
  other = trained("experiments.ngram_classifier:debug")
  with pytest.raises(UserError, match="init_from expects one of experiments.document_vectors"):
    experiment.load(config_of(other, table))
  with pytest.raises(UserError, match="data.num_validation is 60 there, 50 here"):
    experiment.load(config_of(vectors, table, **{"data.num_validation": 50}))
