"""The character language model: metrics by plain loops, streams, calibration, sampling."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.data import corpus
from dlx.errors import UserError
from dlx.experiment import Rngs
from experiments.gru_lm import config as configs
from experiments.gru_lm import experiment

WORDS = "the quick brown fox jumps over the lazy dog, then sleeps.\n"
SMALL = {
    "data.batch_size": 2, "data.seq_len": 8, "data.eval_seq_len": 4,
    "model.dropout_rate": 0.0, "optimizer.warmup_steps": 1, "training.total_steps": 6,
    "training.steps_per_execution": 3, "training.eval_every": 3, "training.save_every": 3,
}  # fmt: skip
CHARACTERS = "abcde"


def task_of(**changes):
  config = configs.get_config("debug", {**SMALL, **changes})
  return experiment.make(config, {"characters": CHARACTERS})


@pytest.fixture
def variables():
  """Every entry drawn, biases too."""
  variables = task_of().init_fn(jax.random.key(0), None)
  rng = np.random.default_rng(0)
  return jax.tree.map(lambda p: jnp.asarray(0.5 * rng.normal(size=p.shape), p.dtype), variables)


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def losses_in_numpy(variables, inputs, targets, hidden=None):
  """(nats of each character of (B, T) ids, last states), step by step in float64."""
  params = jax.tree.map(np.float64, variables["params"])
  layers = params["recurrent"]
  if hidden is None:
    hidden = [np.zeros((len(inputs), layer["hidden"].shape[0])) for layer in layers]
  found = []
  for ids, following in zip(inputs.T, targets.T):
    x = params["embedding"]["embedding"][ids]
    for i, layer in enumerate(layers):
      r, z, n = np.split(x @ layer["input"] + layer["bias"], 3, -1)
      hr, hz, hn = np.split(hidden[i] @ layer["hidden"] + layer["hidden_bias"], 3, -1)
      z = sigmoid(z + hz)
      hidden[i] = (1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * hidden[i]
      x = hidden[i] + (x if i else 0)
    logits = x @ params["output"]["kernel"] + params["output"]["bias"]
    log_sum = np.log(np.exp(logits).sum(-1))
    found.append(log_sum - logits[np.arange(len(ids)), following])
  return np.stack(found, -1), hidden


def ids_of(*shape, seed=1):
  return np.random.default_rng(seed).integers(0, len(CHARACTERS), shape).astype(np.int32)


def test_the_number_of_parameters_of_shakespeare_is_that_of_the_formula():
  vocab, d, h = 65, 128, 512
  # A layer: input and hidden kernels of three gates, and both biases.
  layers = [3 * h * (size + h) + 2 * 3 * h for size in (d, h)]
  expected = vocab * d + sum(layers) + h * vocab + vocab
  assert expected == 2_603_713
  characters = "".join(map(chr, range(40, 40 + vocab)))
  task = experiment.make(configs.get_config("shakespeare"), {"characters": characters})
  shapes = jax.eval_shape(lambda rng: task.init_fn(rng, None), jax.random.key(0))
  assert sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes)) == expected


@pytest.mark.full
def test_eval_fn_is_the_loss_of_each_token(variables):
  inputs, targets = ids_of(5, 4), ids_of(5, 4, seed=2)
  batch = {"inputs": inputs, "targets": targets}
  found, weights = task_of().eval_fn(variables, batch, None)["loss"]
  expected = losses_in_numpy(variables, inputs, targets)[0]
  np.testing.assert_allclose(found, expected, rtol=5e-6)
  np.testing.assert_array_equal(weights, np.ones((5, 4)))


@pytest.mark.full
def test_evaluation_measures_with_and_without_a_carried_state(variables):
  """Against plain loops over a text: sequences from zero states, and streams read through."""
  task, tokens = task_of(), ids_of(8 * 12 + 1)
  inputs, targets = tokens[:-1].reshape(24, 4), tokens[1:].reshape(24, 4)
  of_each = [losses_in_numpy(variables, inputs, np.full_like(inputs, k))[0] for k in range(5)]
  right = np.random.default_rng(3).random(inputs.shape) < 0.5
  targets = np.where(right, np.argmin(of_each, 0), targets)  # So that the model is worth something.
  split = {"inputs": inputs, "targets": targets}
  data = experiment.Data(validation=split, test=split)

  def apply(function, arrays, *, variables=variables, chunk=None):
    return jax.device_get(jax.jit(function)(variables, arrays, jax.random.key(0)))

  found = task.measure_fn(variables, data, "test", apply)
  stateless = losses_in_numpy(variables, inputs, targets)[0].mean()
  # Eight streams of three sequences each.
  stateful = losses_in_numpy(variables, inputs.reshape(8, 12), targets.reshape(8, 12))[0].mean()
  assert found["tokens"] == 96
  np.testing.assert_allclose(np.log(found["perplexity"]), stateless, rtol=1e-5)
  np.testing.assert_allclose(found["stateful loss"], stateful, rtol=1e-5)
  assert abs(stateful - stateless) > 1e-3
  # The temperature is the best one: any other has a larger loss.
  assert found["loss at the temperature"] < stateless
  for factor in (0.9, 1.1):
    output = {
        k: p / (factor * found["temperature"]) for k, p in variables["params"]["output"].items()
    }
    other = {"params": {**variables["params"], "output": output}}
    assert losses_in_numpy(other, inputs, targets)[0].mean() > found["loss at the temperature"]


def test_a_stream_carries_its_state_and_starts_over_with_the_text(variables):
  task = task_of(**{"data.stream": True})
  loss_fn, batch_fn = jax.jit(task.loss_fn), jax.jit(task.batch_fn)
  tokens = ids_of(2 * 3 * 8 + 5)
  length = (len(tokens) - 1) // 2
  streamed = {**task.init_fn(jax.random.key(0), None), **variables}
  streamed["carries"] = jax.tree.map(jnp.ones_like, streamed["carries"])  # Reset at step 0.
  rng, hidden = jax.random.key(0), None
  for step in range(7):  # Three sequences per stream: steps 0, 3 and 6 start over.
    batch = batch_fn({"ids": jnp.asarray(tokens)}, jnp.int32(step), Rngs(rng, rng))
    loss = loss_fn(streamed, batch, rng)
    start = step % 3 * 8
    rows = np.stack([tokens[i * length + start : i * length + start + 9] for i in range(2)])
    hidden = hidden if start else None
    expected, hidden = losses_in_numpy(variables, rows[:, :-1], rows[:, 1:], hidden)
    np.testing.assert_allclose(loss.value, expected.mean(), rtol=2e-6)
    streamed = {**streamed, **loss.updated}
  grads = jax.grad(lambda c: loss_fn({**streamed, "carries": c}, batch, rng).value)(
      streamed["carries"]
  )
  assert not any(np.asarray(g).any() for g in jax.tree.leaves(grads))  # Step 6 starts over.
  assert "carries" in task.training_only


@pytest.fixture(scope="module")
def trained_on_file(tmp_path_factory):
  """(workdir, config, text file) of six steps in a stream."""
  folder = tmp_path_factory.mktemp("trained")
  text = folder / "text.txt"
  text.write_text(WORDS * 60)
  changes = {**SMALL, "data.text": str(text), "data.stream": True}
  config = configs.get_config("debug", changes)
  dlx.train(config, folder / "run")
  return folder / "run", config, text


@pytest.mark.full
def test_a_run_leaves_its_vocabulary_and_a_sample(trained_on_file):
  workdir, _, _ = trained_on_file
  assert dlx.load_run(workdir).assets == {"characters": "".join(sorted(set(WORDS)))}
  sample = (workdir / "samples.txt").read_text()
  assert len(sample) == 1001 and set(sample) <= set(WORDS)


@pytest.mark.full
def test_a_changed_text_is_refused_and_nothing_is_touched(trained_on_file):
  workdir, config, text = trained_on_file
  before = {path: path.read_bytes() for path in (workdir / "checkpoints").rglob("*/d/*")}
  original = text.read_text()
  text.write_text(original.replace("fox", "cat"))
  try:
    with pytest.raises(UserError, match="the train data are not those that the run in"):
      dlx.train(config, workdir)
    with pytest.raises(UserError, match="are not those that the run in"):
      dlx.evaluate(dlx.load_run(workdir), "validation+test")
  finally:
    text.write_text(original)
  assert {path: path.read_bytes() for path in before} == before


def test_the_training_text_has_no_sequences_to_evaluate(trained_on_file):
  with pytest.raises(UserError, match="the train split cannot be evaluated"):
    dlx.evaluate(dlx.load_run(trained_on_file[0]), "train")


def test_a_text_shorter_than_a_sequence_leaves_no_folder(tmp_path):
  text = tmp_path / "text.txt"
  text.write_text("to be or not to be")
  changes = {**SMALL, "data.text": str(text), "data.eval_seq_len": 50}
  with pytest.raises(UserError, match="the validation text has 1 tokens, fewer than 1 x"):
    dlx.train(configs.get_config("debug", changes), tmp_path / "run")
  assert not (tmp_path / "run").exists()


def test_temperature_0_samples_the_argmax(variables):
  task = task_of()
  draws = [
      "".join(task.sample(variables, jax.random.key(seed), prompt="ab", length=30, temperature=0))
      for seed in (0, 1)
  ]
  assert draws[0] == draws[1] and len(draws[0]) == 30
  ids = np.array([[CHARACTERS.index(c) for c in "ab" + draws[0]]])
  scores = functools.partial(losses_in_numpy, variables)
  every = np.stack(
      [scores(ids[:, :-1], np.full_like(ids[:, 1:], k))[0][0] for k in range(len(CHARACTERS))]
  )
  np.testing.assert_array_equal(every.argmin(0)[1:], ids[0, 2:])


def test_a_prompt_with_an_unknown_character_is_refused(variables):
  with pytest.raises(UserError, match="'z'"):
    next(iter(task_of().sample(variables, jax.random.key(0), prompt="az")))


def test_python_source_is_the_default_corpus():
  text = corpus.load("python_source", max_characters=60_000)
  data = experiment.load(configs.get_config("debug"))
  assert len(data.train["ids"]) == len(text.train)
  assert data.steps_per_epoch == len(text.train) // (8 * 16)
