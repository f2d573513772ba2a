"""The character language model: presets, figures by plain loops, streams and records."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest

import dlx
from dlx.data import corpus as corpora
from dlx.errors import UserError
from dlx.runs import metric_log as metrics_lib
from dlx.runs.checkpoints import Checkpoints
from dlx.training import sharding
from experiments.gru_lm import config as configs
from experiments.gru_lm import experiment

WORDS = "the quick brown fox jumps over the lazy dog, then sleeps.\n"


def tiny(text=None, **training):
  """The debug preset on a text of one's own, small enough to run at once."""
  config = configs.get_config("debug")
  with config.unlocked():
    config.data.update({"text": text, "batch_size": 2, "window": 8, "eval_window": 16})
    config.optimizer.warmup_steps = 1
    config.training.update({
        "total_steps": 6, "steps_per_call": 3, "eval_every": 3, "save_every": 3, **training,
    })  # fmt: skip
  return config


def draw(model, seed=0, batch=1):
  """Params of a model with every entry drawn, biases too."""
  params = model.init(jax.random.key(seed), jnp.zeros((batch, 1), jnp.int32))["params"]
  rng = np.random.default_rng(seed)
  return jax.tree.map(lambda p: jnp.asarray(0.5 * rng.normal(size=p.shape), p.dtype), params)


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_a_preset_has_every_key_and_is_locked(preset):
  config, base = configs.get_config(preset), configs.get_config()

  def keys(c):
    return {k: keys(c[k]) if isinstance(c[k], ml_collections.ConfigDict) else None for k in c}

  assert keys(config) == keys(base)
  assert config.is_locked and config.model.is_locked
  assert config.experiment == "experiments.gru_lm" and config.preset == preset
  with pytest.raises((KeyError, AttributeError)):
    config.model.d_hiden = 3
  model = experiment.make_model(config, 65)
  ids = jax.ShapeDtypeStruct((2, 8), jnp.int32)
  logits, carries = jax.eval_shape(lambda i: model.init_with_output(jax.random.key(0), i)[0], ids)
  assert logits.shape == (2, 8, 65) and len(carries) == config.model.num_layers
  assert json.loads(json.dumps(config.to_dict())) == config.to_dict()


def test_an_unknown_preset_is_refused():
  with pytest.raises(UserError, match="'shakespear' is not one of quickstart, shakespeare"):
    configs.get_config("shakespear")


def test_the_parameters_of_shakespeare_are_what_the_formula_counts():
  config = configs.get_config("shakespeare")
  vocab, d, h = 65, 128, 512
  # A layer: input and hidden kernels of three gates, and both biases.
  layers = [3 * h * (size + h) + 2 * 3 * h for size in (d, h)]
  expected = vocab * d + sum(layers) + h * vocab + vocab
  assert expected == 2_603_713
  model = experiment.make_model(config, vocab)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 1), jnp.int32))
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == expected


@pytest.mark.parametrize(
    "section, key, value, message",
    [
        ("model", "cell", "gur", "'gur'; use rnn, gru, lstm"),
        ("model", "num_layers", 0, "num_layers is 0"),
        ("model", "dropout_rate", 1.0, "dropout_rate is 1.0"),
        ("model", "recurrent_dropout_rate", -0.1, "recurrent_dropout_rate is -0.1"),
    ],
)
def test_what_the_model_cannot_be_is_refused(section, key, value, message):
  config = tiny()
  config[section][key] = value
  with pytest.raises(UserError, match=message):
    experiment.make_model(config, 5)


@functools.cache
def reader(model):
  """The model on one text, compiled."""
  return jax.jit(lambda params, ids, carries: model.apply({"params": params}, ids, carries))


def token_losses(model, params, inputs, targets, carries=None):
  """-log p of each target, and the carries, by a plain log-softmax in float64."""
  logits, carries = reader(model)(params, jnp.asarray(inputs), carries)
  logits = np.asarray(logits, np.float64)
  log_z = np.log(np.exp(logits - logits.max(-1, keepdims=True)).sum(-1)) + logits.max(-1)
  return [log_z[t] - logits[t, target] for t, target in enumerate(targets)], carries


# 70 windows are a full chunk of 64 and a partial one; 64 one chunk; 3 less than one.
@pytest.mark.parametrize("windows", [70, 64, 3])
def test_the_score_is_the_mean_over_windows_read_one_by_one(windows):
  model = experiment.make_model(tiny(), 5)
  params = draw(model)
  tokens = np.random.default_rng(1).integers(0, 5, windows * 4 + 3).astype(np.int32)
  terms = []
  for start in range(0, windows * 4, 4):
    text = tokens[start : start + 5]
    terms += token_losses(model, params, text[:-1], text[1:])[0]
  assert len(terms) == windows * 4
  score = experiment.make_score(model, tokens, 4, sharding.make_mesh())(params)
  np.testing.assert_allclose(score, np.mean(terms), rtol=2e-6)


def test_the_streaming_score_is_the_mean_over_lanes_read_through():
  model = experiment.make_model(tiny(), 5)
  params = draw(model)
  lanes, window, length = 8, 4, 14
  tokens = np.random.default_rng(1).integers(0, 5, lanes * length + 4).astype(np.int32)
  terms = []
  for lane in range(lanes):
    text = tokens[lane * length : (lane + 1) * length + 1]
    count = length // window * window  # Whole windows of a lane.
    terms += token_losses(model, params, text[:count], text[1 : count + 1])[0]
  score = experiment.stream_score(model, params, tokens, window)
  np.testing.assert_allclose(score, np.mean(terms), rtol=2e-6)
  # And not what comes of starting each window from zero.
  in_windows = experiment.make_score(model, tokens, window, sharding.make_mesh())
  assert abs(score - in_windows(params)) > 1e-3


def test_calibration_finds_the_temperature_that_the_logits_were_divided_by():
  model = experiment.make_model(tiny(), 5)
  params = draw(model)
  inputs = np.random.default_rng(2).integers(0, 5, (400, 8))
  logits = jax.jit(lambda params: model.apply({"params": params}, inputs)[0])
  targets = jax.random.categorical(jax.random.key(3), 8 * logits(params))  # So 8 is right.

  def score(params):
    log_p = jax.nn.log_softmax(logits(params))
    return -float(jnp.take_along_axis(log_p, targets[..., None], -1).mean())

  def times(factor):
    return {**params, "output": jax.tree.map(lambda p: factor * p, params["output"])}

  temperature, calibrated = experiment.calibrate(times(12), score)
  np.testing.assert_allclose(temperature, 12 / 8, rtol=0.1)  # From 3,200 draws.
  assert score(calibrated) < score(times(12)) - 1e-3
  for other in (temperature - 0.1, temperature + 0.1):
    assert score(calibrated) < score(times(12 / other))


def test_a_stream_carries_the_state_and_starts_over_with_the_text():
  config = tiny()
  config.data.stream = True
  config.model.dropout_rate = 0.0
  model = experiment.make_model(config, 5)
  params = draw(model, batch=2)
  tokens = np.random.default_rng(1).integers(0, 5, 2 * 3 * 8 + 5).astype(np.int32)
  loss_fn, batch_fn = jax.jit(experiment.make_loss(model)), experiment.make_batch(config)
  lane = (len(tokens) - 1) // 2
  _, zeros = model.apply({"params": params}, jnp.zeros((2, 1), jnp.int32))
  variables = {"carries": jax.tree.map(jnp.ones_like, zeros)}  # Must be forgotten at step 0.
  rng = jax.random.key(0)
  carries = [None, None]
  for step in range(7):  # Three windows to a lane: steps 0, 3 and 6 start over.
    batch = batch_fn(jnp.asarray(tokens), jnp.asarray(step), rng)
    loss, (_, variables) = loss_fn(params, variables, batch, rng)
    terms, place = [], step % 3 * 8
    for i in range(2):
      text = tokens[i * lane + place : i * lane + place + 9]
      carries[i] = carries[i] if place else None
      lane_terms, carries[i] = token_losses(model, params, text[:-1], text[1:], carries[i])
      terms += lane_terms
    np.testing.assert_allclose(loss, np.mean(terms), rtol=2e-6)
  grads = jax.grad(lambda v: loss_fn(params, {"carries": v}, batch, rng)[0])(variables["carries"])
  assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))  # Step 6 starts over.


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """(workdir, config, text file) of six steps in a stream."""
  folder = tmp_path_factory.mktemp("trained")
  text = folder / "text.txt"
  text.write_text(WORDS * 60)
  config = tiny(str(text))
  config.data.stream = True
  experiment.train(config, folder / "run")
  return folder / "run", config, text


def test_a_run_leaves_its_records(trained):
  workdir, config, text = trained
  assert json.loads((workdir / "vocabulary.json").read_text()) == "".join(sorted(set(WORDS)))
  record = json.loads((workdir / "corpus.json").read_text())
  corpus = corpora.from_file(text)
  assert record["fingerprint"] == corpus.fingerprint and record["name"] == str(text)
  assert sum(record["characters"].values()) == len(WORDS) * 60
  assert json.loads((workdir / "config.json").read_text()) == config.to_dict()
  assert (workdir / "curves.png").stat().st_size > 1000
  sample = (workdir / "samples.txt").read_text()
  assert len(sample) == 1001 and set(sample) <= set(WORDS)
  steps = [line["step"] for line in metrics_lib.read(workdir / "metrics.jsonl") if "loss" in line]
  assert steps == [3, 6]


def test_a_stream_is_saved_with_its_state(trained):
  with Checkpoints(trained[0] / "checkpoints", read_only=True) as checkpoints:
    carries = checkpoints.restore(6)["variables"]["carries"]
  assert [c.shape for c in jax.tree.leaves(carries)] == [(2, 16), (2, 16)]
  assert all(np.asarray(c).any() for c in jax.tree.leaves(carries))


def test_evaluation_of_the_run_gives_the_figure_of_its_validation(trained):
  run = dlx.load_run(trained[0], checkpoint="latest")
  corpus = corpora.from_file(trained[2])
  joined = experiment.evaluate(run, "validation+test")
  assert joined["characters"] == len(corpus.validation) + len(corpus.test)
  lines = metrics_lib.read(trained[0] / "metrics.jsonl")
  train = experiment.evaluate(run, "train")
  assert train["characters"] == len(corpus.train)
  for name in ("loss in windows of 16", "loss streaming"):
    assert 0 < train[name] < 5 and train[f"{name} at that temperature"] != train[name]
  assert train["temperature fitted on validation"] == joined["temperature fitted on validation"]
  last = [line["validation/loss"] for line in lines if "validation/loss" in line][-1]
  vocabulary = experiment.Vocabulary.load(trained[0] / "vocabulary.json")
  model = experiment.make_model(run.config, len(vocabulary))
  tokens = vocabulary.encode(corpus.validation)
  assert experiment.make_score(model, tokens, 16, sharding.make_mesh())(run.params) == last


def test_a_text_that_changed_is_refused_and_nothing_is_touched(trained, tmp_path):
  workdir, config, text = trained
  before = {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*/d/*")}
  original = text.read_text()
  text.write_text(original.replace("fox", "cat", 1))
  try:
    with pytest.raises(UserError, match="is not the one that the run in .* began with"):
      experiment.train(config, workdir)
    with pytest.raises(UserError, match="began with"):
      experiment.evaluate(dlx.load_run(workdir), "test")
  finally:
    text.write_text(original)
  assert {path: path.read_bytes() for path in before} == before


def test_a_text_too_short_for_a_window_leaves_no_folder(tmp_path):
  text = tmp_path / "text.txt"
  text.write_text("to be or not to be")
  with pytest.raises(UserError, match="characters, but .* are needed"):
    experiment.train(tiny(str(text)), tmp_path / "run")
  assert not (tmp_path / "run").exists()
