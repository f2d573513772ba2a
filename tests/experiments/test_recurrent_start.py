"""A classifier that starts from the words and the first layer of a language model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.data import document_words, tokens
from dlx.errors import UserError
from dlx.layers import lstm, recurrent
from dlx.training import contextual, recurrent_start
from experiments.bidirectional_lm import config as language_models
from experiments.bidirectional_lm import experiment as language_model
from experiments.recurrent_classification import experiment as classifier
from experiments.recurrent_classification.config import get_config

SOURCE = "experiments.bidirectional_lm:debug_documents"
WORDS = ("the", "film", "was", "xyzzy", "great")


@pytest.fixture(scope="module")
def source(trained):
  return str(trained(SOURCE))


def config_of(source, **options):
  return get_config("debug", {"init_from": source, **options})


def test_the_layer_has_the_states_of_the_language_model(source):
  """Those of "the film was <unknown> great", between [CLS] and [SEP] in place of boundaries."""
  run = dlx.load_run(source)
  given = recurrent_start.load(config_of(source), WORDS)
  text = tokens.of_words(WORDS).encode("the film was dull great").ids
  x = given["words"]["embedding"][jnp.asarray(text)]
  _, found = jax.jit(lambda p, x: recurrent.bidirectional(p, x, cell=lstm))(given["layer_0"], x)
  # "dull" is a word of the language model, and none of the classifier.
  known = [w if w in WORDS else f"<{i}>" for i, w in enumerate(run.assets["words"])]
  ids = document_words.pieces(["the film was dull great"], known, max_length=9, lowercase=True)
  model = contextual.make_model(run.assets)
  states = jax.jit(model.apply)({"params": run.params}, ids["ids"], ids["lengths"]).layers
  assert ids["ids"][0, 3] == 0 and np.abs(states[0, 1, :5]).min() > 0
  np.testing.assert_allclose(found[1:6], states[0, 1, :5], atol=1e-6)


def test_words_that_the_language_model_lacks_are_drawn(source):
  found = [recurrent_start.load(config_of(source), WORDS)["words"]["embedding"] for _ in range(2)]
  np.testing.assert_array_equal(*found)
  table = dlx.load_run(source).params["words"]["embedding"]
  own = found[0][len(tokens.SPECIAL) + WORDS.index("xyzzy")]
  assert np.abs(table - own).max(-1).min() > 0.01
  assert 0.1 < own.std() / table.std() < 3


def test_a_run_starts_with_these_params(source, trained):
  run = dlx.load_run(trained("experiments.recurrent_classification:debug_pretrained"))
  task = run.experiment.make(run.config, run.assets)
  words = tokens.words(tokens.from_json(run.assets["tokenizer"]))
  given = recurrent_start.load(config_of(source), words)
  data = run.experiment.load(run.config, run.assets)
  params = task.init_fn(jax.random.key(0), data._replace(pretrained={"layers": given}))["params"]
  for name, expected in given.items():
    jax.tree.map(np.testing.assert_array_equal, params[name], expected)
  assert run.evaluate("test")["accuracy"] > 0.7


def test_a_run_that_does_not_fit_is_refused(source, trained):
  for options, message in (
      ({"model.d_word": 8}, "config.model.d_word is 8, the layer of .* needs 16; set --config"),
      ({"model.cell": "gru"}, "config.model.cell is gru, .* needs lstm"),
  ):  # fmt: skip
    with pytest.raises(UserError, match=message):
      recurrent_start.load(config_of(source, **options), WORDS)
  with pytest.raises(UserError, match="has none of the 1 words of the model"):
    recurrent_start.load(config_of(source), ("xyzzy",))
  other = str(trained("experiments.recurrent_classification:debug"))
  with pytest.raises(UserError, match="is a run of experiments.recurrent_classification"):
    recurrent_start.load(config_of(other), WORDS)


def test_a_table_has_the_documents_of_the_classifier_in_each_split(tmp_path):
  """What the language model has read is in no held-out document of the classifier."""
  rows = "".join(f"document{i} of many,{'ab'[i % 2]}\n" for i in range(90))
  (tmp_path / "mine.csv").write_text("words,kind\n" + rows)
  table = {
      "data.file": str(tmp_path / "mine.csv"), "data.text_column": "words",
      "data.num_validation": 20,
  }  # fmt: skip
  expected = classifier.load(get_config("debug", {**table, "data.label_column": "kind"}))
  options = {**table, "data.dataset": "table"}
  found = language_model.load(language_models.get_config("debug_documents", options))
  words = np.array(found.assets["words"])
  for name in ("train", "validation", "test"):
    first = found.split(name)["ids"][:, 0]
    own = {text.split()[0] for text in expected.split(name)["text"]}
    known = {word for word, i in zip(words[first - 1], first) if i}
    assert len(first) == len(own) and known == (own if name == "train" else set())
