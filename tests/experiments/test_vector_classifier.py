"""The classifier of document vectors: what it learns, its own documents left out, bad input."""

import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.models import document_vectors, informative_ngrams
from dlx.training.fit import Diverged
from experiments.document_vectors import config as vector_configs
from experiments.vector_classifier import config as configs
from experiments.vector_classifier import experiment
from tests.halves import train_vectors, write


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  return write(tmp_path_factory.mktemp("data") / "texts.tsv", 400)


@pytest.fixture(scope="module")
def vectors(table, tmp_path_factory):
  """A run of document vectors."""
  return train_vectors(table, tmp_path_factory.mktemp("runs") / "vectors")


def config_of(vectors, table, **changes):
  changes = {"init_from": str(vectors), "data.file": table, "data.num_validation": 60, **changes}
  return configs.get_config("debug", changes)


def test_parts_tell_where_a_document_says_something(vectors, table, tmp_path):
  accuracy = {}
  for parts in (1, 2):
    workdir = tmp_path / str(parts)
    dlx.train(config_of(vectors, table, **{"model.parts": parts}), workdir)
    accuracy[parts] = dlx.load_run(workdir).evaluate("test")["accuracy"]
  assert 0.6 < accuracy[1] < 0.9 and accuracy[2] > 0.95


def test_the_weights_of_a_training_document_are_those_of_the_other_documents(vectors, table):
  """As those that the other run has learned its vectors with."""
  data = experiment.load(config_of(vectors, table))
  train, ascent = data.train, data.assets["ascent"]
  run = dlx.load_run(vectors)
  choice = ("order", "min_count", "smoothing", "max_ratio")
  corpus = informative_ngrams.select(
      train, vocab_size=len(run.assets["words"]), num_classes=2,
      **{name: run.config.model[name] for name in choice},
  ).corpus  # fmt: skip
  vectors_of = experiment.make_vectors(train, run, ascent)
  found = vectors_of(train["ids"][:20], train["labels"][:20])
  for i in range(20):
    own = slice(corpus["starts"][i], corpus["starts"][i + 1])
    weights = np.diff(corpus["sums"][own], prepend=0)
    expected = document_vectors.of_ngrams(
        run.eval_variables, corpus["ngrams"][own][None], weights[None], **ascent
    )
    np.testing.assert_allclose(found[i], expected[0], atol=1e-4)


def test_predictions_do_not_depend_on_other_lines(vectors, table, tmp_path):
  dlx.train(config_of(vectors, table), tmp_path / "run")
  run = dlx.load_run(tmp_path / "run")
  lines = ["red1 red2 red3 w green4 green5", "green4 w red1 " * 20, "unknown words only"]
  assert run.predict(lines) == [run.predict([line])[0] for line in lines]
  with pytest.raises(UserError, match="' ' has no words"):
    run.predict(["fine", " "])


def test_other_runs_and_other_classes_are_refused(vectors, table, tmp_path, trained):
  other = trained("experiments.ngram_classifier:debug")
  with pytest.raises(UserError, match="init_from expects one of experiments.document_vectors"):
    experiment.load(config_of(other, table))
  colors = write(tmp_path / "colors.tsv", 300, ("blue", "yellow", "black"))
  with pytest.raises(UserError, match="has the classes green, red; expected black, blue, yellow"):
    experiment.load(config_of(vectors, colors))


def test_a_run_that_knows_the_validation_documents_is_refused(vectors, table, tmp_path):
  """Vectors are learned with the labels of training documents."""
  with pytest.raises(UserError, match="data.num_validation is 60 there, 50 here"):
    experiment.load(config_of(vectors, table, **{"data.num_validation": 50}))
  copy = write(tmp_path / "copy.tsv", 400)
  with pytest.raises(UserError, match=r"other documents: data.file is .*texts.tsv' there, .*copy"):
    experiment.load(config_of(vectors, copy))
  refit = tmp_path / "refit"
  changes = {"data.file": table, "data.num_validation": 60, "data.refit": True}
  dlx.train(vector_configs.get_config("debug", changes), refit)
  with pytest.raises(UserError, match="trained on the validation documents too; .*refit=True"):
    experiment.load(config_of(refit, table))
  experiment.load(config_of(refit, table, **{"data.refit": True}))


def test_a_fit_that_fails_is_no_run(vectors, table, tmp_path):
  workdir = tmp_path / "run"
  with pytest.raises(Diverged, match="the fit has failed: the validation metric .* not a number"):
    dlx.train(config_of(vectors, table, **{"model.l2": 1e300}), workdir)
  with pytest.raises(UserError, match="has no checkpoint yet"):
    dlx.load_run(workdir)


def test_a_folder_of_another_experiment_is_refused_in_few_words(vectors, table):
  message = "vectors is a run of experiments.document_vectors; name another folder$"
  with pytest.raises(UserError, match=message):
    dlx.train(config_of(vectors, table), vectors)
