"""Word vectors: the page's data, files that it reads and writes, words that belong together."""

import pathlib

import jax
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import word_vectors
from dlx.errors import UserError
from dlx.experiment import Rngs
from dlx.metrics.word_similarity import Vectors
from dlx.reports import word_map
from experiments.word_vectors import config as configs
from experiments.word_vectors import experiment

JUDGED = "self\treturn\t1\nself\tdef\t9\nif\tand\t5\n"


def text_of_two_topics(path: pathlib.Path) -> pathlib.Path:
  """Documents with words a0 to a19, and others with b0 to b19."""
  rng = np.random.default_rng(0)
  topics = [[f"{topic}{i}" for i in range(20)] for topic in "ab"]
  lines = [" ".join(rng.choice(topics[i % 2], 12)) for i in range(800)]
  path.write_text("\n".join(lines) + "\n")
  return path


@pytest.mark.full
@pytest.mark.parametrize(
    "preset, changes",
    [
        ("debug", {"data.subsample": None}),
        ("debug_cbow_hs", {"data.subsample": None, "optimizer.learning_rate": 0.1}),
        ("debug_glove", {"data.batch_size": 64, "optimizer.learning_rate": 0.1}),
    ],
)
def test_neighbours_are_words_of_the_same_topic(tmp_path, preset, changes):
  config = configs.get_config(preset, {
      "data.text": str(text_of_two_topics(tmp_path / "text")), "training.total_steps": 600,
      "training.steps_per_execution": 200, "training.eval_every": 600, "training.save_every": 600,
      "optimizer.learning_rate": 0.025, **changes,
  })  # fmt: skip
  run = dlx.load_run(dlx.train(config, tmp_path / "run"))
  for line in run.predict(["a0", "b3"], json=True):
    nearest = [row["word"][0] for row in line["nearest"]]
    assert nearest == [line["input"][0]] * 5, line


def test_the_text_is_split_and_its_rare_words_are_left_out():
  config = configs.get_config("debug")
  data = experiment.load(config)
  counts = data.assets["counts"]
  assert counts.min() >= 2 and (np.diff(counts) <= 0).all()
  ids = data.train["ids"]
  np.testing.assert_array_equal(np.bincount(ids[ids >= 0]), counts)
  again = experiment.load(config, data.assets)
  assert all((again.split(s)["ids"] == data.split(s)["ids"]).all() for s in ("train", "test"))


def test_every_position_is_read_once_in_an_epoch():
  config = presets.in_steps(configs.get_config("debug", {"data.seq_len": 8}), 8)
  task = experiment.make(config, {"words": ["a", "b"], "counts": np.array([5, 4])})
  train = {"ids": jax.numpy.arange(8 * 64 + 5)}
  batch_fn = jax.jit(task.batch_fn)
  rngs = [Rngs(jax.random.key(0), jax.random.key(i)) for i in range(8)]
  read = [np.asarray(batch_fn(train, i, rngs[i])["ids"]) for i in range(8)]
  found, counts = np.unique(np.concatenate(read), return_counts=True)
  assert len(found) >= 8 * 64 - 8 and (counts[:-1] == 1).all()


def test_pairs_of_glove_are_held_out_with_both_of_their_entries():
  parts = experiment.entries(np.tile(np.arange(40), 30).astype(np.int32), 40, 30)
  pairs = [
      {tuple(sorted(p)) for p in zip(x["words"].tolist(), x["contexts"].tolist())} for x in parts
  ]
  assert not (pairs[0] & pairs[1]) and not (pairs[0] & pairs[2]) and not (pairs[1] & pairs[2])
  assert 0.005 < len(pairs[1]) / len(pairs[0]) < 0.06


def test_a_run_starts_from_the_vectors_of_a_file(tmp_path, capsys):
  words = experiment.load(configs.get_config("debug")).assets["words"]
  vectors = np.random.default_rng(0).normal(size=(5, 8)).astype(np.float32)
  word_vectors.write(tmp_path / "v.txt", words[:5], vectors)
  config = configs.get_config("debug", {"init_from": str(tmp_path / "v.txt")})
  data = experiment.load(config)
  given = data.pretrained()
  assert f"has 5 of the {len(words)} words" in capsys.readouterr().err
  state = experiment.make(presets.in_steps(config, 8), data.assets).init_fn(
      jax.random.key(0), data._replace(pretrained=given)
  )
  np.testing.assert_array_equal(state["vectors"]["input"][:5], vectors)
  config = configs.get_config("debug", {"init_from": str(tmp_path / "v.txt"), "model.d": 9})
  with pytest.raises(UserError, match="have 8 dimensions, those of the model 9"):
    experiment.load(config).pretrained()


def test_programs_export_score_and_evaluate(programs, trained, tmp_path):
  workdir, output = trained("experiments.word_vectors:debug"), tmp_path / "vectors.txt"
  export = ("launch.export", f"--workdir={workdir}", f"--output={output}", "--format=word2vec")
  assert programs(*export).code == 0
  found = word_vectors.read(output)
  run = dlx.load_run(workdir)
  assert found.words == run.assets["words"]
  np.testing.assert_array_equal(found.vectors, run.eval_variables["vectors"]["input"])
  refused = programs(*export)
  assert refused.code == 2 and refused.err == f"{output} exists; name a new file\n"
  (tmp_path / "judged.tsv").write_text(JUDGED)
  score = ("launch.score", f"--vectors={output}")
  scored = programs(*score, f"--similarity={tmp_path / 'judged.tsv'}")
  assert scored.code == 0 and "judged known: 1.0000" in scored.out, scored
  assert programs(*score).err.startswith("nothing to measure; give --similarity")
  output.write_text("3 2\na 1 2\nb 1\n")
  refused = programs(*score, f"--similarity={tmp_path / 'judged.tsv'}")
  assert refused.code == 2 and "line 3 has 1 numbers" in refused.err
  assert refused.err.count("\n") == 1


def test_other_experiments_have_no_word_vectors(programs, trained, tmp_path):
  workdir = trained("experiments.ngram_lm:debug")
  refused = programs(
      "launch.export", f"--workdir={workdir}", f"--output={tmp_path / 'v'}", "--format=word2vec"
  )
  assert refused.code == 2 and "experiments.ngram_lm has no word vectors" in refused.err


@pytest.mark.full
def test_similarities_are_metrics_of_the_run(tmp_path):
  (tmp_path / "judged.tsv").write_text(JUDGED)
  (tmp_path / "questions.txt").write_text("self def return if\n")
  config = configs.get_config("debug", {
      "data.similarity": str(tmp_path / "judged.tsv"), "training.total_steps": 5,
      "data.analogies": str(tmp_path / "questions.txt"),
  })  # fmt: skip
  run = dlx.load_run(dlx.train(config, tmp_path / "run"))
  metrics = run.evaluate("validation")
  assert -1 <= metrics["judged"] <= 1 and metrics["judged known"] == 1
  assert metrics["analogies"] in (0, 1) and metrics["analogies known"] == 1


def test_a_map_draws_the_words_that_are_named():
  known = Vectors(["a", "b", "$c_1$", "d"], np.eye(4))
  drawn = word_map.draw(known, ["a", "$c_1$", "d", "unknown"])
  assert [text.get_text() for text in drawn.axes[0].texts] == ["a", "$c_1$", "d"]
  assert len(word_map.draw(known).axes[0].texts) == 4
  with pytest.raises(UserError, match="2 of the 3 words to draw are known"):
    word_map.draw(known, ["a", "d", "unknown"])
