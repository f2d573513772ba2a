"""A tagger that reads the states of a frozen bidirectional language model."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.data import tagged
from dlx.errors import UserError
from dlx.layers import scalar_mix
from dlx.training import contextual, evaluation

SOURCE, TAGGER = "experiments.bidirectional_lm:debug", "experiments.tagging:debug_elmo"


@pytest.fixture(scope="module")
def run(trained):
  return dlx.load_run(trained(TAGGER))


@pytest.mark.full
def test_the_language_model_stays_as_it_was_and_the_mixture_is_learned(run, trained):
  source = dlx.load_run(trained(SOURCE)).params
  kept = run.variables[contextual.LANGUAGE_MODEL]
  assert jax.tree.structure(kept) == jax.tree.structure(source)
  for one, other in zip(jax.tree.leaves(kept), jax.tree.leaves(source)):
    assert np.asarray(one).tobytes() == np.asarray(other).tobytes()
  mixture, start = run.params["mixture"], scalar_mix.init(None, 2)
  assert all(np.all(np.abs(mixture[name] - start[name]) > 1e-3) for name in start)


@pytest.mark.full
def test_words_are_read_in_the_vocabulary_of_the_language_model(run):
  words = [("The", "Xyzzyson", "saw"), ("a", ".")]
  arrays = run.experiment.make_reader(run.config, run.assets)(words)
  known = run.assets[contextual.LANGUAGE_MODEL]["words"]
  expected = [known.index("the") + 1, 0, known.index("saw") + 1]
  assert arrays["context_ids"][0, :3].tolist() == expected
  assert not arrays["context_ids"][1, 2:].any()


@pytest.mark.full
def test_context_gives_a_word_without_characters_several_vectors(run):
  """The tagger's own vectors of "saw" are equal in both sentences; its states are not."""
  sentences = [tuple(s.split()) for s in ("the saw plays", "Nilson saw it")]
  batch = run.experiment.make_reader(run.config, run.assets)(sentences)
  states = contextual.make_states(run.assets)(run.variables, jax.tree.map(jnp.asarray, batch))
  assert states.shape == (2, 2, 12, 16)
  np.testing.assert_array_equal(states[0, 0, 1], states[1, 0, 1])
  assert np.abs(states[0, 1, 1] - states[1, 1, 1]).max() > 1e-3


@pytest.mark.full
def test_answers_need_no_source(run):
  (line,) = evaluation.predict(run, ["the dog saw Nilson ."])
  assert line.count("/") == 5
  assert run.evaluate("test")["accuracy"] > 0.5


@pytest.mark.full
def test_a_run_of_another_kind_is_refused(programs, trained, tmp_path):
  other = trained("experiments.tagging:debug_hmm")
  with pytest.raises(UserError, match="is a run of experiments.tagging; init_from expects one of"):
    contextual.make_assets(str(other))
  finished = programs(
      "launch.train", "--config=experiments/tagging/config.py:debug_elmo",
      f"--config.init_from={other}", f"--workdir={tmp_path / 'run'}",
  )  # fmt: skip
  assert finished.code == 2 and finished.err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_without_a_source_nothing_is_read():
  words = tagged.generate(3).words
  assert contextual.make_assets(None) == {} == contextual.start({}, None, None)
  read = contextual.with_ids(lambda words: {"ids": len(words)}, {}, 9)
  assert read(words) == {"ids": 3} and contextual.make_states({})({}, {}) is None
