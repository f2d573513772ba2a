"""Document vectors: what is learned, which rows a step moves, bad input."""

import jax
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import documents
from dlx.errors import UserError
from dlx.experiment import Rngs
from dlx.reports import document_map
from experiments.document_vectors import config as configs
from experiments.document_vectors import experiment


@pytest.fixture(scope="module")
def table(tmp_path_factory):
  """Three classes, each with words of its own between those of all."""
  path = tmp_path_factory.mktemp("data") / "texts.tsv"
  rng, rows = np.random.default_rng(0), ["text\tlabel"]
  for i in range(600):
    name = ("red", "green", "blue")[i % 3]
    own = [f"{name}{k}" for k in rng.integers(0, 12, 3)]
    words = [*own, *(f"w{k}" for k in rng.integers(0, 30, rng.integers(3, 9)))]
    rows.append(f"{' '.join(rng.permutation(words))}\t{name}")
  path.write_text("\n".join(rows))
  return str(path)


def config_of(table, **changes):
  return configs.get_config("debug", {"data.file": table, **changes})


@pytest.fixture(scope="module")
def run(table, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("runs") / "run"
  steps = {f"training.{name}": 200 for name in ("total_steps", "eval_every", "save_every")}
  dlx.train(config_of(table, **steps), workdir)
  return dlx.load_run(workdir)


@pytest.mark.full
def test_classes_are_learned(run):
  assert run.evaluate("test")["accuracy"] > 0.9


@pytest.mark.full
def test_the_map_has_a_point_for_every_document_in_the_color_of_its_class(run):
  data = experiment.load(run.config, run.assets)
  points = document_map.draw(np.eye(3)[data.test["labels"]], data.test["labels"], "abc")
  for k, drawn in enumerate(points.axes[0].collections):
    assert len(drawn.get_offsets()) == (data.test["labels"] == k).sum()
    assert np.ptp(drawn.get_offsets(), axis=0).max() < 1e-6


@pytest.mark.full
def test_predictions_do_not_depend_on_other_lines_and_empty_ones_are_refused(run):
  lines = ["red1 red2 w3", "blue4 w1 " * 30, "unknown words only"]
  assert run.predict(lines) == [run.predict([line])[0] for line in lines]
  assert run.predict(lines)[0].startswith("red1 red2 w3: red")
  with pytest.raises(UserError, match="' ' has no words"):
    run.predict(["fine", " "])


def test_a_step_moves_the_vectors_that_it_has_drawn_and_no_others(table):
  config = config_of(table, **{"model.noise_ngrams": 2, "data.batch_size": 2})
  data = experiment.load(config)
  task = experiment.make(presets.in_steps(config, data.steps_per_epoch), data.assets)
  before = task.init_fn(jax.random.key(0), data)
  rngs = Rngs(jax.random.key(1), jax.random.key(2))
  batch = task.batch_fn(data.train, 0, rngs)
  loss = jax.jit(task.loss_fn)(before, batch, jax.random.key(3))
  moved = np.flatnonzero((np.asarray(loss.updated["vectors"] - before["vectors"]) != 0).any(-1))
  drawn = np.unique(batch["ngrams"])
  assert set(drawn) <= set(moved) and len(moved) <= len(drawn) + 2


@pytest.mark.full
def test_unlabelled_documents_are_read_and_do_not_train_the_classifier(monkeypatch):
  more = documents.sentences(30, seed=5).texts
  monkeypatch.setattr(documents, "unlabelled", lambda source: more)
  config = configs.get_config("debug")
  alone = experiment.load(config)
  with config.unlocked():
    config.data.unlabelled = True
  data = experiment.load(config)
  assert (data.train["labels"] < 0).sum() == 30 and data.steps_per_epoch > alone.steps_per_epoch
  task = experiment.make(presets.in_steps(config, data.steps_per_epoch), data.assets)
  variables = task.init_fn(jax.random.key(0), data)
  ngrams = data.train["ngrams"][:64].reshape(4, 16)

  def gradient(labels):
    batch = {"ngrams": ngrams[: len(labels)], "labels": np.int32(labels), "step": 0}
    value = lambda params: task.loss_fn(  # noqa: E731
        {**variables, "params": params}, batch, jax.random.key(1)
    ).value
    return jax.jit(jax.grad(value))(variables["params"])

  for a, b in zip(*(jax.tree.leaves(gradient(x)) for x in ([1, 0], [1, 0, -1, -1]))):
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("changes, message", [
    ({"data.batch_size": 512}, "500 training documents, fewer than a batch"),
    ({"model.min_count": 1000}, "lower min_count"),
])  # fmt: skip
def test_data_that_cannot_train_is_refused(table, changes, message):
  with pytest.raises(UserError, match=message):
    experiment.load(config_of(table, **changes))
