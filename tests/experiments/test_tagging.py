"""The experiment tagging: files of one's own, unseen tags, predictions, entities."""

import json

import numpy as np
import pytest

import dlx
from dlx.errors import UserError
from dlx.training import evaluation, sharding
from experiments.tagging import experiment
from experiments.tagging.config import get_config

COUNTED = {"model.kind": "hmm", "training.total_steps": 0, "training.ema_decay": None}


def write(tmp_path, name, *sentences):
  path = tmp_path / name
  path.write_text("\n".join("".join(f"{pair}\n" for pair in s.split(",")) for s in sentences))
  return path


def measured(config, split="test"):
  """(metrics of a split of a counted model, its figures)."""
  data = experiment.load(config)
  task = experiment.make(config, data.assets)
  variables = task.init_fn(None, data._replace(pretrained=data.pretrained()))
  apply = evaluation.make_apply(variables, sharding.make_mesh(), chunk=4)
  metrics = evaluation.evaluate(task, variables, data, split, apply)
  return metrics, task.plot(variables, data, split, apply)


def test_entities_are_scored_and_an_unseen_tag_counts_as_an_error_that_is_said(tmp_path, capsys):
  train = write(tmp_path, "train.txt", "Ann B-PER,Lee I-PER,left O", "Rome B-LOC,won O")
  test = write(tmp_path, "test.txt", "Ann B-PER,Lee I-PER,won O", "Ann B-GOD,left O")
  files = {"data.file": str(train), "data.validation_file": str(train), "data.test_file": str(test)}
  metrics, figures = measured(get_config("debug_hmm", {**files, "model.suffix_length": 1}))
  assert capsys.readouterr().err == (
      "test: 1 words have tags that training has not, and count as errors: B-GOD\n"
  )
  assert metrics["accuracy"] == pytest.approx(4 / 5) and np.isfinite(metrics["loss"])
  assert metrics["unknown words"] == 0
  # Found: Ann Lee, and Ann as a person; true: Ann Lee, and Ann as a god.
  assert metrics["entity F1"] == metrics["entity recall"] == 1 / 2
  assert set(figures) == {"confusions_test"}  # All other tags are right: no picture.


def test_long_sentences_are_cut_and_no_word_is_left_out(tmp_path):
  rng = np.random.default_rng(0)
  rows = [",".join(f"w{i} T{i % 3}" for i in rng.integers(9, size=n)) for n in (30, 5, 25, 13, 40)]
  path = str(write(tmp_path, "all.txt", *rows))
  changes = {"data.file": path, "data.validation_file": path, "data.test_file": path}
  data = experiment.load(get_config("debug_hmm", changes))
  assert data.test["lengths"].sum() == 113 and data.test["lengths"].max() == 12
  metrics, _ = measured(get_config("debug_hmm", changes))
  assert metrics["accuracy"] == 1


@pytest.mark.full
def test_the_chain_makes_the_hmm_better_than_the_most_frequent_tag():
  accuracy = {}
  for kind in ("hmm", "most_frequent"):
    metrics, _ = measured(get_config("debug_hmm", {"model.kind": kind}))
    accuracy[kind] = metrics["accuracy"]
  assert accuracy["hmm"] > accuracy["most_frequent"] + 0.03


def test_words_are_answered_with_tags(trained):
  run = dlx.load_run(trained("experiments.tagging:debug"))
  words = "the dog saw a light . " * 3
  lines = list(evaluation.predict(run, [words, "Nilson plays ."]))
  pairs = [[pair.rsplit("/", 1) for pair in line.split()] for line in lines]
  assert [w for w, _ in pairs[0]] == words.split() and len(pairs[1]) == 3
  assert {tag for _, tag in sum(pairs, [])} <= set(run.assets["tags"])
  (found,) = evaluation.predict(run, ["Nilson plays ."], json=True)
  assert json.loads(json.dumps(found)) == {
      "words": ["Nilson", "plays", "."], "tags": [tag for _, tag in pairs[1]]
  }  # fmt: skip
  with pytest.raises(UserError, match="a sentence is empty"):
    list(evaluation.predict(run, [" "]))


def test_word_dropout_and_rare_words_use_the_unknown_word():
  config = get_config("debug", {"data.min_count": 10**6})
  data = experiment.load(config)
  assert not data.assets["embedded"] and not np.any(data.train["ids"])
  assert data.train["seen"].sum() == data.train["lengths"].sum()


@pytest.mark.full
def test_a_run_that_counted_is_opened_and_evaluated(trained):
  run = dlx.load_run(trained("experiments.tagging:debug_hmm"))
  assert run.task.init_fn and 0.5 < run.evaluate("validation")["accuracy"] <= 1
