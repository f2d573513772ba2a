"""Distillation: the loss of labelled and unlabelled documents, teachers, resuming, bad input."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import programs as programs_lib
import pytest

import dlx
from dlx.data import documents
from dlx.errors import UserError
from dlx.experiment import Rngs, numeric
from dlx.training import classifiers, distillation, train
from experiments.recurrent_classification import config as recurrent
from experiments.transformer_sentiment import config as transformer

TEACHER = "experiments.ngram_classifier:debug"
QUICK = {
    "training.total_steps": 8, "training.steps_per_execution": 4, "training.eval_every": 4,
    "training.save_every": 4,
}  # fmt: skip
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def softmax(x):
  return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


@eager_and_jit
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_loss_is_the_equation_and_unlabelled_documents_have_the_teacher_alone(
    x64, compile_, weight
):
  z, v = np.random.default_rng(0).normal(size=(2, 5, 3))
  labels, t = np.array([2, -1, 0, 1, -1]), 3.0
  batch = {"labels": labels, "teacher": softmax(v / t)}
  loss = lambda z, batch: distillation.loss(  # noqa: E731
      z, batch, weight=weight, temperature=t, label_smoothing=0.1
  )
  value, gradient = compile_(jax.value_and_grad(loss))(z, batch)
  expected, d_z = 0.0, np.zeros_like(z)
  for i, label in enumerate(labels):
    p, p_t = softmax(z[i]), softmax(z[i] / t)
    q = np.full(3, 0.1 / 3) + 0.9 * (np.arange(3) == label)
    a = weight if label >= 0 else 1.0
    if label >= 0:
      expected -= (1 - a) * (q * np.log(p)).sum() / 5
      d_z[i] += (1 - a) * (p - q) / 5
    expected -= a * t**2 * (batch["teacher"][i] * np.log(p_t)).sum() / 5
    d_z[i] += a * t * (p_t - batch["teacher"][i]) / 5
  assert float(value) == pytest.approx(expected, rel=1e-13)
  np.testing.assert_allclose(gradient, d_z, atol=1e-15)


def test_a_certain_teacher_and_none_give_the_plain_loss(x64):
  z, labels = np.random.default_rng(0).normal(size=(4, 3)), np.array([0, 2, 1, 1])
  plain = distillation.loss(z, {"labels": labels}, weight=0.7, temperature=5.0)
  batch = {"labels": labels, "teacher": np.eye(3)[labels]}
  found = distillation.loss(z, batch, weight=0.7, temperature=1.0)
  expected = -np.log(softmax(z))[np.arange(4), labels].mean()
  np.testing.assert_allclose([plain, found], expected, rtol=1e-13)
  assert float(distillation.accuracy(np.eye(3), np.array([0, -1, 1]))) == 0.5


def config_of(module, teacher, **changes):
  return module.get_config("debug", {"teacher": str(teacher), **QUICK, **changes})


@pytest.mark.full
@pytest.mark.parametrize("module", [recurrent, transformer])
def test_the_teachers_probabilities_belong_to_the_documents_of_a_batch(trained, module):
  teachers = [trained(TEACHER), trained("experiments.recurrent_classification:debug")]
  changes = {"distillation.temperature": 3.0, "data.word_dropout": 0.0}
  config = config_of(module, ", ".join(map(str, teachers)), **changes)
  prepared = train.prepare(config, None)
  data = prepared.data.train
  jsons = [dlx.load_run(t).predict(data["text"][::40], json=True) for t in teachers]
  p = [[list(row["probabilities"][c] for c in documents.SENTIMENTS) for row in j] for j in jsons]
  cooled = np.power(p, 1 / 3)
  expected = (cooled / cooled.sum(-1, keepdims=True)).mean(0)
  np.testing.assert_allclose(data["teacher"][::40], expected, atol=1e-5)
  arrays = {name: jnp.asarray(array) for name, array in numeric(data).items()}
  rngs = Rngs(jax.random.key(0), jax.random.key(1))
  batch = jax.jit(prepared.task.batch_fn)(arrays, jnp.int32(3), rngs)
  of = {ids.tobytes(): q for ids, q in zip(data["ids"], data["teacher"])}
  rows = [of[np.asarray(ids).tobytes()] for ids in batch["ids"]]
  np.testing.assert_array_equal(batch["teacher"], rows)
  assert len(rows) == 16 and np.ptp(rows, axis=0).min() > 0.1


@pytest.mark.full
@pytest.mark.parametrize("name", ["recurrent_classification", "transformer_sentiment"])
def test_a_resumed_run_needs_no_teacher(programs, trained, tmp_path, name):
  teacher, workdir = shutil.copytree(trained(TEACHER), tmp_path / "teacher"), tmp_path / "run"
  flags = [f"--config=experiments/{name}/config.py:debug", f"--config.teacher={teacher}"]
  flags += [f"--config.{key}={value}" for key, value in QUICK.items()]
  finished = programs("launch.train", *flags, f"--workdir={workdir}")
  assert finished.code == 0, finished
  shutil.rmtree(teacher)
  copy = programs_lib.without_last_checkpoint(tmp_path / "copy", workdir)
  finished = programs("launch.train", *flags, f"--workdir={copy}")
  assert finished.code == 0 and "resuming from step 4" in finished.err, finished
  programs_lib.assert_same_run(copy, workdir)


def test_unlabelled_documents_are_trained_on_the_teacher_alone(trained, monkeypatch):
  more = documents.sentences(30, seed=5).texts
  monkeypatch.setattr(documents, "unlabelled", lambda source: more)
  config = config_of(transformer, trained(TEACHER))
  parts = documents.from_options(config.data)
  with config.unlocked():
    config.data.unlabelled = True
  found = documents.with_unlabelled(parts, config.data)
  assert found.train.texts == parts.train.texts + more and found.test is parts.test
  assert found.train.labels[-30:].tolist() == [-1] * 30
  module = train.runs.experiment(config)
  data = module.load(config)
  assert len(data.train["teacher"]) == len(parts.train) + 30
  assert (data.train["labels"] < 0).sum() == 30
  with pytest.raises(UserError, match="30 documents of the train split have no label"):
    module.make(config, data.assets).measure_fn({}, data, "train", None)
  # Its assets alone give the same data.
  again = module.load(config, data.assets)
  np.testing.assert_array_equal(again.train["teacher"], data.train["teacher"])


def test_teachers_that_cannot_teach_are_refused(trained, tmp_path):
  vae = trained("experiments.vae:debug")
  with pytest.raises(UserError, match="experiments.vae, which does not classify documents"):
    train.prepare(config_of(transformer, vae), None)
  with pytest.raises(UserError, match="nowhere.* is not a run"):
    train.prepare(config_of(transformer, f"{trained(TEACHER)},nowhere"), None)
  with pytest.raises(UserError, match="classes negative, positive; expected bad, good, neutral"):
    classifiers.opened(str(trained(TEACHER)), ["bad", "good", "neutral"])
  folder = tmp_path / "new"
  with pytest.raises(UserError, match=f"{folder} is not a run"):
    dlx.train(config_of(transformer, folder), folder)  # Its own teacher.
  assert not folder.exists()
  with pytest.raises(UserError, match="data.unlabelled=True needs a teacher"):
    dlx.train(config_of(transformer, trained(TEACHER), **{"data.unlabelled": True}), folder)
