"""The document classifier: batches, word dropout, padding, the loss, fine-tuning."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx import presets
from dlx.data import document_arrays, documents, tokens
from dlx.errors import UserError
from dlx.experiment import Rngs, numeric
from dlx.models import token_attribution, trainable
from dlx.training import encoders, finetuning, train
from experiments.transformer_sentiment import config as configs
from experiments.transformer_sentiment import experiment

DATA = documents.sentences(60)


def debug(**changes):
  return configs.get_config("debug", changes)


def prepared(**changes) -> train.Prepared:
  return train.prepare(debug(**changes), None)


@pytest.fixture(scope="module")
def run() -> train.Prepared:
  return prepared(**{"model.dropout_rate": 0.0, "data.word_dropout": 0.0})


@pytest.fixture(scope="module")
def variables(run):
  return jax.jit(lambda rng: run.task.init_fn(rng, run.data))(jax.random.key(0))


@pytest.mark.parametrize("preset", [p for p in configs.PRESETS if "finetune" not in p])
def test_the_network_of_a_preset_maps_documents_to_logits(preset):
  config = configs.get_config(preset)
  shapes = {"vocab_size": 50, "max_length": config.data.max_length, **config.encoder.to_dict()}
  model = experiment.make_model(config, {"classes": ["a", "b"], "encoder": shapes})
  ids = jax.ShapeDtypeStruct((2, 16), jnp.int32)
  variables = jax.eval_shape(model.init, jax.random.key(0), ids)
  assert jax.eval_shape(model.apply, variables, ids).shape == (2, 2)


def test_a_table_is_split_into_three_parts_without_a_common_row(tmp_path):
  rows = "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(50))
  (tmp_path / "mine.csv").write_text("text,label\n" + rows)
  config = debug(**{"data.file": str(tmp_path / "mine.csv"), "data.num_validation": 10})
  data = experiment.load(config)
  parts = [getattr(data, name)["text"] for name in ("train", "validation", "test")]
  assert [len(part) for part in parts] == [35, 10, 5]
  assert len({text for part in parts for text in part}) == 50
  assert data.assets["classes"] == ["a", "b"]


def test_word_dropout_replaces_its_fraction_of_the_words_and_keeps_ends_and_padding(run):
  ids, lengths = jnp.asarray(run.data.train["ids"]), jnp.asarray(run.data.train["lengths"])
  found = np.asarray(
      document_arrays.word_dropout(jax.random.key(0), ids, lengths, rate=0.3, unknown=1)
  )
  position = np.arange(ids.shape[1])
  inner = (position > 0) & (position < np.asarray(lengths)[:, None] - 1)
  assert ((found == ids) | (found == 1)).all() and (found == ids)[~inner].all()
  assert abs((found != ids)[inner].mean() - 0.3) < 0.02


def test_an_epoch_has_every_document_once(run):
  count, size = len(run.data.train["ids"]), run.config.data.batch_size
  arrays = {k: jnp.asarray(v) for k, v in run.data.train.items() if k != "text"}
  batch_fn, rng = jax.jit(run.task.batch_fn), jax.random.key(0)
  seen = [batch_fn(arrays, jnp.int32(step), Rngs(rng, rng)) for step in range(count // size)]
  rows = np.concatenate([np.column_stack([b["ids"], b["labels"]]) for b in seen])
  expected = np.column_stack([run.data.train["ids"], run.data.train["labels"]])
  found, counts = np.unique(rows, axis=0, return_counts=True)
  known, known_counts = np.unique(expected, axis=0, return_counts=True)
  left_out = count - len(rows)
  assert left_out < size and len(known) - len(found) <= left_out
  index = [np.flatnonzero((known == row).all(1))[0] for row in found]
  assert (counts <= known_counts[index]).all()


@pytest.mark.full
def test_a_document_has_the_same_logits_at_any_length(run, variables):
  examples = {k: run.data.validation[k] for k in ("ids", "lengths")}
  expected = run.task.outputs_fn(variables, examples)
  longer = {**examples, "ids": np.pad(examples["ids"], ((0, 0), (0, 20)))}
  np.testing.assert_allclose(run.task.outputs_fn(variables, longer), expected, atol=1e-5)
  alone = [
      run.task.outputs_fn(variables, {k: x[i : i + 1] for k, x in examples.items()})[0]
      for i in range(3)
  ]
  np.testing.assert_allclose(alone, expected[:3], atol=1e-5)
  assert np.ptp(expected, axis=0).min() > 1e-2


@pytest.mark.full
def test_the_loss_is_the_smoothed_cross_entropy(run, variables):
  batch = {k: jnp.asarray(run.data.train[k][-6:]) for k in ("ids", "lengths", "labels")}
  loss = jax.jit(run.task.loss_fn)(variables, batch, jax.random.key(0))
  logits = np.float64(run.task.outputs_fn(variables, batch))
  targets = 0.9 * np.eye(2)[batch["labels"]] + 0.05
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  assert float(loss.value) == pytest.approx(-(targets * log_p).sum(-1).mean(), rel=1e-5)
  right = (logits.argmax(-1) == batch["labels"]).mean()
  assert float(loss.metrics["accuracy"]) == pytest.approx(float(right))


NAMES = {
    "embedding": "transformer.embedding.embedding",
    "norm 0": "transformer.block0.attention_norm.scale",
    "kernel 1": "transformer.block1.attention.query.kernel",
    "bias 1": "transformer.block1.attention.query.bias",
    "prefix 1": "transformer.block1.attention_prefix.key",
    "adapter 1": "transformer.block1.attention_adapter_in.kernel",
    "last norm": "transformer.final_norm.bias",
    "head": "head.kernel",
}


@pytest.mark.parametrize("choice, names", [
    ("head", ()),
    ("adapters", ("norm 0", "adapter 1", "last norm")),
    ("prefixes", ("prefix 1",)),
    ("bias", ("bias 1", "last norm")),
    ("last_1", ("kernel 1", "bias 1", "prefix 1", "adapter 1", "last norm")),
    ("last_2", ("norm 0", "kernel 1", "bias 1", "prefix 1", "adapter 1", "last norm")),
])  # fmt: skip
def test_trainable_selects_parameters(choice, names):
  trained = trainable.is_trained(choice, num_layers=2)
  assert [k for k, v in NAMES.items() if trained(v)] == [*names, "head"]


def test_the_selected_names_are_those_of_the_model():
  sizes = {"model.adapter_size": 2, "model.prefix_length": 3, "encoder.num_layers": 2}
  run = prepared(**sizes)
  shapes = jax.eval_shape(lambda rng: run.task.init_fn(rng, run.data), jax.random.key(0))
  paths = jax.tree.leaves_with_path(shapes["params"])
  names = {jax.tree_util.keystr(path, simple=True, separator=".") for path, _ in paths}
  assert set(NAMES.values()) <= names


@pytest.mark.full
def test_prefix_tuning_moves_the_prefixes_and_the_head_of_a_pretrained_encoder_alone():
  start = prepared()
  given = jax.jit(lambda rng: start.task.init_fn(rng, start.data))(jax.random.key(1))["params"]
  options = {"model.prefix_length": 3, "optimizer.warmup_steps": 0}
  run = prepared(trainable="prefixes", **options)
  data = run.data._replace(pretrained={"params": given})
  task = finetuning.freeze_others(run.task)
  variables = jax.jit(lambda rng: task.init_fn(rng, data))(jax.random.key(0))
  batch = {k: jnp.asarray(data.train[k][:16]) for k in ("ids", "lengths", "labels")}

  @jax.jit
  def step(params, state, rng):
    loss = lambda p: task.loss_fn({**variables, "params": p}, batch, rng).value  # noqa: E731
    updates, state = task.optimizer.update(jax.grad(loss)(params), state, params)
    return jax.tree.map(jnp.add, params, updates), state

  params, state = variables["params"], task.optimizer.init(variables["params"])
  for seed in range(3):
    params, state = step(params, state, jax.random.key(seed))
  after = flax.traverse_util.flatten_dict(params, sep=".")
  before = flax.traverse_util.flatten_dict(given, sep=".")
  prefixes = {name for name in after if "prefix" in name}
  assert after.keys() - before.keys() == prefixes and len(prefixes) == 2
  for name in before:
    assert (after[name] == before[name]).all() == (not name.startswith("head.")), name
  value = params["transformer"]["block0"]["attention_prefix"]["value"]
  assert np.abs(value).min() > 1e-4


@pytest.mark.full
def test_the_attention_of_an_explanation_is_that_of_the_tokens_after_a_prefix():
  run = prepared(**{"model.prefix_length": 2})
  variables = jax.jit(lambda rng: run.task.init_fn(rng, run.data))(jax.random.key(0))
  assert run.task.explain(variables, "The film was not dull").keys() >= {"attention"}
  model = experiment.make_model(run.config, run.data.assets)
  maps = token_attribution.attention_maps(model, variables["params"], jnp.arange(4, 9))
  assert maps.shape == (1, 2, 5, 5) and (maps.sum(-1) < 0.999).all()


@pytest.mark.full
def test_layer_decay_lowers_the_rates_of_lower_blocks():
  assert [trainable.blocks_above(name, 2) for name in NAMES.values()] == [2, 1, 0, 0, 0, 0, 0, 0]
  run = prepared(
      layer_decay=0.5, **{"optimizer.warmup_steps": 0, "encoder.num_layers": 2}
  )
  params = run.task.init_fn(jax.random.key(0), run.data)["params"]
  zero = jax.tree.map(jnp.zeros_like, params)  # Without decay, Adam's first step is the rate.
  optimizer = run.task.optimizer
  updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(zero), zero)
  network = updates["transformer"]
  moved = [network["embedding"], network["block0"], network["block1"], updates["head"]]
  rates = [float(-jax.tree.leaves(part)[0].ravel()[0]) for part in moved]
  np.testing.assert_allclose(rates, 1e-2 * np.array([0.25, 0.5, 1, 1]), rtol=1e-3)


@pytest.mark.full
def test_an_explanation_adds_up_and_shows_the_attention_of_the_model():
  run = prepared()
  variables = run.task.init_fn(jax.random.key(0), run.data)
  found = run.task.explain(variables, "The film was not dull")
  assert set(found) == {"text", "attribution", "attention"}
  label, probability = found["text"].plain.splitlines()[0].split()
  ids, lengths = tokens.encode(
      tokens.from_json(run.data.assets["tokenizer"]), ["The film was not dull"], 24
  )
  p = jax.nn.softmax(run.task.outputs_fn(variables, {"ids": ids, "lengths": lengths})[0])
  assert label == run.data.assets["classes"][int(p.argmax())]
  assert float(probability.rstrip("%")) == pytest.approx(100 * float(p.max()), abs=0.06)


@pytest.mark.full
def test_pretrained_params_come_from_the_run_that_init_from_names(trained):
  source = trained("experiments.masked_lm:debug")
  run = prepared(init_from=str(source))
  variables = run.task.init_fn(jax.random.key(0), run.data)
  expected = encoders.load_params(str(source))["transformer"]
  found = variables["params"]["transformer"]
  jax.tree.map(np.testing.assert_array_equal, found, expected)
  # The encoder's shapes come with it, not from the config.
  assert prepared(init_from=str(source), **{"encoder.d_model": 64}).data.assets["encoder"] == (
      run.data.assets["encoder"]
  )


def test_a_run_without_an_encoder_is_refused(trained):
  with pytest.raises(UserError, match="experiments.gru_lm, which has no encoder"):
    prepared(init_from=str(trained("experiments.gru_lm:debug")))


def test_a_required_run_has_to_be_given():
  with pytest.raises(UserError, match="init_from is missing"):
    presets.check(configs.get_config("sst2_finetune_minilm"))


def test_evaluation_uses_no_array_of_objects(trained):
  """Documents are for reports; a device would refuse them."""
  run = dlx.load_run(trained("experiments.transformer_sentiment:debug"))
  data = run.experiment.load(run.config, run.assets)
  assert data.validation["text"].dtype == object
  assert "text" not in numeric(data.validation)
