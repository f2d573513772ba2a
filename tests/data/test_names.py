"""Which words count as names, and what becomes of n-grams with them."""

import pytest

import dlx
from dlx.data import names
from dlx.errors import UserError
from experiments.document_vectors import config as vector_configs
from experiments.ngram_classifier import config as configs
from experiments.ngram_classifier import experiment


def test_names_have_a_capital_within_sentences():
  texts = ["We saw Keaton. Her film was Good, said Keaton; the best", "a good film with KEATON"]
  assert names.find(texts) == {"keaton"}
  assert names.find([*texts, "so keaton, keaton and keaton"]) == frozenset()


@pytest.mark.parametrize(
    "text",
    ["a film. Keaton is in it", '"Keaton" and (Keaton', "a FINE film", "and I'm sure", "the 3D"],
)
def test_capitals_for_other_reasons_count_for_nothing(text):
  assert names.find([text]) == frozenset()


def test_a_share_of_the_occurrences_has_to_have_a_capital():
  texts = ["on May 1"] * 4 + ["it may be"]
  assert names.find(texts) == frozenset()  # Four of five are not more than 0.8.
  assert names.find([*texts, "in May 1"]) == {"may"}


def table_of(path):
  """The name of an actor tells the class, and so do "good" and "bad"."""
  rows = ["text\tlabel"]
  for i in range(200):
    name = ("Keaton", "Garbo")[i % 2]
    rows.append(f"film {i % 7} with {name} is {('good', 'bad')[i % 2]} {i % 5}\t{i % 2}")
  path.write_text("\n".join(rows))
  return {"data.file": str(path), "data.num_validation": 40}


def test_ngrams_with_names_are_left_out(tmp_path):
  changes = table_of(tmp_path / "texts.tsv")
  every = experiment.load(configs.get_config("debug", changes)).assets["words"]
  kept = experiment.load(configs.get_config("debug", {**changes, "data.drop_names": True}))
  assert set(every) - set(kept.assets["words"]) == {"keaton", "garbo"}

  dlx.train(configs.get_config("debug", {**changes, "data.drop_names": True}), tmp_path / "run")
  run = dlx.load_run(tmp_path / "run")
  (reason,) = run.predict(["film 1 with Keaton is good"], explain=True)
  assert "good" in reason and "keaton" not in reason.partition("(")[2].lower()


def test_vectors_of_documents_leave_them_out_too(tmp_path):
  changes = {**table_of(tmp_path / "texts.tsv"), "data.drop_names": True, "model.min_count": 1}
  steps = {f"training.{name}": 5 for name in ("total_steps", "eval_every", "save_every")}
  dlx.train(vector_configs.get_config("debug", {**changes, **steps}), tmp_path / "run")
  words = dlx.load_run(tmp_path / "run").assets["words"]
  assert "good" in words and not {"keaton", "garbo"} & set(words)


def test_documents_of_names_alone_are_refused():
  with pytest.raises(UserError, match="all words .* are names; set data.drop_names=False"):
    names.without(["keaton"], ["with Keaton"])
