"""The recurrent document classifier: tokens, predictions with the weights of the words."""

import json

import jax
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import tokens
from dlx.errors import UserError
from dlx.training import evaluation
from experiments.recurrent_classification import experiment
from experiments.recurrent_classification.config import get_config


@pytest.fixture(scope="module")
def run(trained):
  return dlx.load_run(trained("experiments.recurrent_classification:debug"))


def test_it_learns_the_generated_sentences(run):
  assert run.evaluate("test")["accuracy"] > 0.8


def test_answers_have_the_weights_of_the_words(run):
  line = "The film was GREAT, they say"
  (shown,) = evaluation.predict(run, [line])
  (found,) = evaluation.predict(run, [line], json=True)
  found = json.loads(json.dumps(found))
  assert shown.startswith(f"{line}: ") and sum(found["probabilities"].values()) <= 1 + 1e-6
  words, weights = zip(*found["weights"])
  assert words == ("[CLS]", "The", "film", "was", "GREAT", ",", "they", "say", "[SEP]")
  assert sum(weights) == pytest.approx(1, abs=1e-5) and min(weights) > 0
  long = "bad film " * 30
  (found,) = evaluation.predict(run, [long], json=True)
  assert len(found["weights"]) == 24 == run.config.data.max_length
  with pytest.raises(UserError, match="a document is empty"):
    list(evaluation.predict(run, [" "]))


def test_words_or_byte_pairs_are_learned_from_the_training_documents():
  found = {}
  for kind in ("words", "byte_pairs"):
    assets = experiment.load(get_config("debug", {"data.tokens": kind})).assets
    found[kind] = tokens.from_json(assets["tokenizer"]).encode("unlovely films").tokens
  assert found["words"] == ["[CLS]", "[UNK]", "[UNK]", "[SEP]"]
  assert len(found["byte_pairs"]) > 4 and "[UNK]" not in found["byte_pairs"][-3:]


def test_a_last_training_has_the_validation_documents_too():
  without, refit = (experiment.load(get_config("debug", {"data.refit": v})) for v in (False, True))
  more = [*without.train["text"], *without.validation["text"]]
  assert sorted(refit.train["text"]) == sorted(more) and len(more) > len(without.train["text"])
  assert list(refit.validation["text"]) == list(without.validation["text"])


@pytest.mark.parametrize("name", ["recurrent_classification", "document_vectors"])
def test_documents_that_a_last_training_knows_do_not_choose_its_checkpoint(trained, name):
  run = dlx.load_run(trained(f"experiments.{name}:debug"))
  assert run.task.best in ("loss", "-accuracy")
  config = presets.in_steps(run.config, 10)
  with config.unlocked():
    config.data.refit = True
  assert run.experiment.make(config, run.assets).best is None


def test_a_table_of_ones_own_is_read(tmp_path):
  rows = "".join(f"text number {i},{'abc'[i % 3]}\n" for i in range(60))
  (tmp_path / "mine.csv").write_text("words,kind\n" + rows)
  data = experiment.load(get_config("debug", {
      "data.file": str(tmp_path / "mine.csv"), "data.text_column": "words",
      "data.label_column": "kind", "data.num_validation": 10,
  }))  # fmt: skip
  assert data.assets["classes"] == ["a", "b", "c"]
  assert [len(data.split(name)["ids"]) for name in ("train", "validation", "test")] == [44, 10, 6]
  assert np.all(data.train["lengths"] == 5)


def test_adversarial_training_has_the_loss_of_the_perturbed_documents():
  losses = {}
  for epsilon in (0.0, 1e-4, 1.0):
    config = get_config("debug", {"adversarial.epsilon": epsilon})
    data = experiment.load(config)
    task = experiment.make(config, data.assets)
    rng = jax.random.key(0)
    variables = task.init_fn(rng, data)
    batch = {name: data.train[name][:8] for name in ("ids", "lengths", "labels")}
    losses[epsilon] = float(jax.jit(task.loss_fn)(variables, batch, rng).value)
  assert losses[1e-4] == pytest.approx(losses[0.0], rel=1e-3)
  assert losses[1.0] > losses[1e-4] > losses[0.0]
