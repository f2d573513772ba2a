"""The n-gram language model: metrics by a loop, contexts across sequences, bad input."""

import dataclasses

import jax
import numpy as np
import pytest

import dlx
from dlx.data import ngram_counts
from dlx.data import vocabulary as vocabularies
from dlx.errors import UserError
from dlx.models import ngram_smoothing
from experiments.ngram_lm import config as configs
from experiments.ngram_lm import experiment

WORDS = "the quick brown fox jumps over the lazy dog , then the fox sleeps .\n".split(" ")
SMALL = {"data.eval_seq_len": 4, "data.tokens": "words", "data.num_train_words": 300,
         "data.num_validation_words": 60, "data.vocab_size": 12}  # fmt: skip


def write(path, count=420):
  path.write_text(" ".join(np.random.default_rng(0).choice(WORDS, count)))
  return str(path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """The run of 300 words with trigrams."""
  folder = tmp_path_factory.mktemp("trained")
  changes = {**SMALL, "data.text": write(folder / "text.txt"), "model.order": 3}
  dlx.train(configs.get_config("debug", changes), folder / "run")
  return dlx.load_run(folder / "run")


@pytest.mark.full
def test_the_loss_is_that_of_one_long_text(trained):
  """By a loop with dictionaries of the tables: p = q + b p'."""
  data = trained.experiment.load(trained.config, trained.assets)
  levels = ngram_counts.count(data.train["ids"], 3, 12)
  keys, weights = [], []
  for level, table in zip(levels, ngram_smoothing.tables(levels, "kneser_ney")):
    grams = [((*keys[-1][c], w) if keys else (w,)) for c, w in zip(level.contexts, level.words)]
    weights.append((dict(zip(grams, table["probabilities"])), table.get("lower")))
    keys.append(grams)
  text = np.append(data.test["inputs"].ravel(), data.test["targets"][-1, -1])
  losses = []
  for t in range(1, len(text)):
    p = weights[0][0][(text[t],)]
    for n in (2, 3):
      context = tuple(text[max(0, t - n + 1) : t])
      if context in keys[n - 2] and len(context) == n - 1:
        b = weights[n - 1][1][keys[n - 2].index(context)]
        p = weights[n - 1][0].get((*context, text[t]), 0) + b * p
    losses.append(-np.log(p))
  found = trained.evaluate("test")
  assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
  assert found["perplexity"] == pytest.approx(np.exp(np.mean(losses)), rel=1e-5)
  assert found["n-grams"] == sum(map(len, keys))


def test_counts_of_another_vocabulary_are_refused(trained):
  fewer = {**trained.assets, "words": trained.assets["words"][:-1]}
  with pytest.raises(UserError, match="n-grams are of 12 tokens, the vocabulary .* has 11"):
    "".join(dlx.sample(dataclasses.replace(trained, assets=fewer), length=3))


def test_a_run_leaves_words_and_a_picture(trained):
  sample = (trained.workdir / "samples.txt").read_text().split()
  assert len(sample) == 1000 and set(sample) <= set(trained.assets["words"])
  assert (trained.workdir / "orders_validation.png").exists()


def test_temperature_0_continues_with_the_most_frequent_word(trained):
  ids = vocabularies.of(trained.assets).encode("the fox")[0]
  task, variables = trained.task, trained.variables
  before, inputs = np.repeat(ids[:, None], 12, 1)[..., None]
  targets = np.arange(12, dtype=np.int32)[:, None]
  batch = {"before": before, "inputs": inputs, "targets": targets}
  best = int(np.argmin(task.eval_fn(variables, batch, None)["loss"][0]))
  (drawn,) = task.sample(variables, jax.random.key(0), prompt="the fox", length=1, temperature=0)
  assert drawn.strip() == trained.assets["words"][best]


@pytest.mark.parametrize("source, known", [("train", False), ("all", True)])
def test_the_vocabulary_is_that_of_the_training_text_or_of_all(tmp_path, source, known):
  text = write(tmp_path / "text.txt", count=400)
  (tmp_path / "text.txt").write_text((tmp_path / "text.txt").read_text() + " rare" * 40)
  changes = {**SMALL, "data.text": text, "data.vocab_size": 30, "data.vocab_source": source}
  data = experiment.load(configs.get_config("debug", changes))
  assert ("rare" in data.assets["words"]) == known
  assert (0 in data.test["targets"]) != known


@pytest.mark.full
@pytest.mark.parametrize("smoothing", ["add_k", "back_off"])
@pytest.mark.parametrize("tokens", ["characters", "byte_pairs"])
def test_other_methods_and_tokens_evaluate_and_sample(tmp_path, smoothing, tokens):
  changes = {"data.text": write(tmp_path / "text.txt"), "model.smoothing": smoothing,
             "data.tokens": tokens, "data.eval_seq_len": 8, "model.order": 2}  # fmt: skip
  config = configs.get_config("debug", changes)
  data = experiment.load(config)
  task = experiment.make(config, data.assets)
  variables = task.init_fn(None, data._replace(pretrained=data.pretrained()))
  losses, weights = task.eval_fn(variables, data.validation, None)["loss"]
  assert losses.shape == weights.shape == data.validation["targets"].shape
  # A text of few words is easier than even odds.
  assert losses.mean() < np.log(len(vocabularies.of(data.assets)))
  assert "".join(task.sample(variables, jax.random.key(0), prompt="the", length=5))


def test_a_prompt_with_an_unknown_word_is_refused(trained):
  with pytest.raises(UserError, match="the word 'cat' is not among the 12 words"):
    next(iter(dlx.sample(trained, prompt="the cat")))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.order": 0}, "config.model.order is 0; expected 1 or more"),
        ({"model.order": 301}, "the training text has 300 tokens, but config.model.order is 301"),
        ({"data.vocab_size": 1}, "config.data.vocab_size is 1; expected 2 or more"),
        ({"training.total_steps": 5}, "training.total_steps must be 0"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_folder(tmp_path, changes, message):
  text = write(tmp_path / "text.txt")
  with pytest.raises(UserError, match=message) as refused:
    config = configs.get_config("debug", {**SMALL, "data.text": text, **changes})
    dlx.train(config, tmp_path / "run")
  assert "\n" not in str(refused.value) and not (tmp_path / "run").exists()


def test_a_text_of_one_word_is_refused(tmp_path):
  (tmp_path / "text.txt").write_text("<unk> " * 420)
  with pytest.raises(UserError, match="the text has only one of words"):
    changes = {**SMALL, "data.text": str(tmp_path / "text.txt")}
    dlx.train(configs.get_config("debug", changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_brown_without_its_file_is_refused(tmp_path):
  with pytest.raises(UserError, match="config.data.text is missing"):
    dlx.train(configs.get_config("brown"), tmp_path / "run")
