"""Word embeddings that start from a file of vectors, in the tagger and in the classifier."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx import presets
from dlx.data import tokens, word_vectors
from dlx.errors import UserError
from dlx.layers import embedding
from dlx.models import word_start
from dlx.training import train

EXPERIMENTS = ("experiments.tagging", "experiments.recurrent_classification")
each_experiment = pytest.mark.parametrize("name", EXPERIMENTS)


def config_of(name, **changes):
  return importlib.import_module(f"{name}.config").get_config("debug", changes)


def words_of(name) -> list[str]:
  """The words of the model, in the order of its embedding."""
  assets = train.prepare(config_of(name), None).data.assets
  if "tokenizer" in assets:
    return tokens.words(tokens.from_json(assets["tokenizer"]))
  return list(assets["embedded"])


def written(path, name, d=None):
  """A file with vectors of every second word; (these words' rows, the vectors)."""
  d = d or config_of(name).model.d_word
  words = words_of(name)
  vectors = np.random.default_rng(0).normal(size=(len(words[::2]), d)).astype(np.float32)
  word_vectors.write(path, words[::2], vectors)
  return len(words), vectors


@pytest.mark.full
@each_experiment
def test_known_words_start_from_the_file_and_their_number_is_said(name, tmp_path, capsys):
  count, vectors = written(tmp_path / "v.txt", name)
  found = train.prepare(config_of(name, init_vectors=str(tmp_path / "v.txt")), None)
  assert f"has {len(vectors)} of the {count} words" in capsys.readouterr().err
  rng, plain = jax.random.key(0), found.data._replace(pretrained=None)
  new, old = (
      found.task.init_fn(rng, data)["params"]["words"]["embedding"]
      for data in (found.data, plain)
  )
  np.testing.assert_array_equal(new[-count::2], vectors)
  np.testing.assert_array_equal(new[:-count], old[:-count])  # The unknown word, and others.
  assert np.abs(new[-count + 1 :: 2] - old[-count + 1 :: 2]).min() > 0


@each_experiment
def test_a_file_that_does_not_fit_is_refused_in_one_line(name, programs, tmp_path):
  written(tmp_path / "wide.txt", name, d=5)
  (tmp_path / "ragged.txt").write_text("the 1 2 3\nfilm 1 2\n")
  (tmp_path / "header.txt").write_text("7 2\nthe 1 2\n")
  d = config_of(name).model.d_word
  for file, message in {
      "wide.txt": f"have 5 dimensions, those of the model {d}; set the model's size to 5",
      "ragged.txt": "line 2 has 2 numbers after the word; expected 3, as in line 1",
      "header.txt": "line 1 says 7 words, but 1 lines follow",
      "none.txt": "cannot be read: No such file",
  }.items():
    with pytest.raises(UserError, match=message) as refused:
      train.prepare(config_of(name, init_vectors=str(tmp_path / file)), None)
    assert "\n" not in str(refused.value)
  finished = programs(
      "launch.train", f"--config={name.replace('.', '/')}/config.py:debug",
      f"--config.init_vectors={tmp_path / 'wide.txt'}", f"--workdir={tmp_path / 'run'}",
  )  # fmt: skip
  assert finished.code == 2 and finished.err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_only_the_words_are_frozen():
  assert word_start.is_trained("all") is None
  trained = word_start.is_trained("all_but_words")
  assert not trained("words.embedding")
  assert trained("layer_0.forward.hidden") and trained("wordsmith.kernel")


def test_freezing_random_words_is_refused():
  with pytest.raises(UserError, match="all_but_words needs init_vectors"):
    presets.check(config_of("experiments.tagging", trainable="all_but_words"))


def test_rows_that_the_table_has_not_are_refused():
  params = {"embedding": jnp.zeros((3, 2))}
  np.testing.assert_array_equal(
      embedding.with_last_rows(params, jnp.ones((1, 2)))["embedding"], [[0, 0], [0, 0], [1, 1]]
  )
  for shape in ((4, 2), (1, 3)):
    with pytest.raises(ValueError, match="rows: expected at most 3 rows of 2, got"):
      embedding.with_last_rows(params, jnp.ones(shape))
