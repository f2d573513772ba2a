"""The text classifier: presets, splits, batches, padding, and what evaluation counts."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import labelled_text, tokens
from dlx.errors import UserError
from dlx.models import ngrams
from dlx.models.sequence_heads import TokenModel
from dlx.runs import run
from dlx.training import finetuning, sharding
from experiments.transformer_sentiment import checks, encoders, evaluation, experiment, splits
from experiments.transformer_sentiment import config as configs
from experiments.transformer_sentiment.pretraining import experiment as pretraining


def debug(**changes):
  config = configs.get_config("debug")
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


DATA = labelled_text.sentences(60)
TOKENIZER = tokens.learn(DATA.texts, 200)
UNKNOWN = TOKENIZER.token_to_id(tokens.UNKNOWN)


def encoded(config):
  found = splits.encode(config, TOKENIZER, DATA)
  return found, {name: jnp.asarray(array) for name, array in found._asdict().items()}


def encoder_of(config):
  shapes = {"vocab_size": TOKENIZER.get_vocab_size(), "max_length": config.data.max_length}
  return encoders.Encoder({**shapes, **config.encoder.to_dict()}, TOKENIZER)


def model_of(config):
  model = experiment.make_model(config, encoder_of(config).options, 2)
  shape = {"longest": config.model.ngrams, "rows": config.model.ngram_rows}
  table = ngrams.count(*encoded(config)[0], 2, **shape) if config.model.ngrams else None
  return model, *experiment.init_variables(config, model, encoder_of(config), table)


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_a_preset_has_every_key_is_locked_and_builds(preset, whole_preset):
  module = pretraining if preset.endswith("pretrain") else experiment
  config = whole_preset(configs, module, preset)
  options = encoder_of(config).options
  model = module.make_model(config, options, *([] if module is pretraining else [2]))
  ids = jnp.zeros((2, config.data.max_length), jnp.int32)
  variables = jax.eval_shape(model.init, jax.random.key(0), ids)
  shape = jax.eval_shape(model.apply, variables, ids).shape
  assert shape == ((*ids.shape, options["vocab_size"]) if isinstance(model, TokenModel) else (2, 2))


def test_an_unknown_preset_is_refused():
  with pytest.raises(UserError, match="'imbd' is not one of imdb, sst2"):
    configs.get_config("imbd")


@pytest.mark.parametrize("changes, message", [
    ({"encoder.positions": "alibi"}, "positions is 'alibi'; use sinusoidal"),
    ({"model.pooling": "last"}, "pooling is 'last'; use mean, max, first"),
    ({"encoder.num_heads": 3}, "d_model is 16; it must be a multiple of twice num_heads, 6"),
    ({"data.word_dropout": 1.0}, "word_dropout is 1.0; use 0 <= rate < 1"),
    ({"data.max_length": 2}, "max_length is 2; it must be at least 4"),
    ({"model.dtype": "float16"}, "dtype is 'float16'; use float32, bfloat16"),
    ({"model.dtype": "float64"}, "only with JAX_ENABLE_X64=1"),
    ({"optimizer.layer_decay": 1.5}, "layer_decay is 1.5; it must be above 0 and at most 1"),
    ({"data.mask_rate": 0.0}, "mask_rate is 0.0; it must be above 0"),
    ({"trainable": "last_0"}, "trainable is 'last_0'; use all, head, adapters, bias, last_N"),
    ({"trainable": "adapters"}, "adapters; give them a --config.model.adapter_size"),
])  # fmt: skip
def test_a_value_out_of_its_range_is_named(changes, message):
  with pytest.raises(UserError, match=message):
    experiment.check_config(debug(**changes))


def test_a_table_is_split_in_three_parts_without_a_common_row(tmp_path):
  rows = "".join(f"text number {i},{'ab'[i % 2]}\n" for i in range(50))
  (tmp_path / "mine.csv").write_text("text,label\n" + rows)
  config = debug(**{"data.file": str(tmp_path / "mine.csv"), "data.validation": 10})
  parts = [splits.load_data(config, name) for name in ("train", "validation", "test")]
  assert [len(part) for part in parts] == [35, 10, 5]
  assert len({text for part in parts for text in part.texts}) == 50
  assert all(part.classes == ("a", "b") for part in parts)


def test_an_unknown_source_or_split_is_refused():
  with pytest.raises(UserError, match="'yelp'; use imdb_reviews, glue/sst2 or sentences"):
    splits.load_data(debug(**{"data.source": "yelp"}), "train")
  with pytest.raises(UserError, match="'all' is not one of train, validation, test"):
    splits.load_data(debug(), "all")


@pytest.mark.parametrize("length, count, expected", [
    (256, 4, (64, 128, 192, 256)), (24, 2, (12, 24)), (5, 1, (5,)), (4, 9, (1, 2, 3, 4)),
])  # fmt: skip
def test_batches_are_cut_to_equal_steps_of_the_longest(length, count, expected):
  config = debug(**{"data.max_length": length, "data.buckets": count})
  assert splits.sizes(config) == expected


def test_word_dropout_takes_its_share_of_the_words_and_leaves_ends_and_padding():
  config = debug(**{"data.word_dropout": 0.3, "data.batch_size": 60})
  found, data = encoded(config)
  batch = jax.jit(experiment.make_batch(config, UNKNOWN))
  dropped = []
  for step in range(20):
    one = batch(data, jnp.int32(step), jax.random.key(step))
    for ids, length, label in zip(*(np.asarray(one[k]) for k in ("ids", "lengths", "labels"))):
      assert ids[0] == 2 and ids[length - 1] == 3 and not ids[length:].any()
      dropped.append((ids[1 : length - 1] == UNKNOWN).mean())
      candidates = np.flatnonzero((found.lengths == length) & (found.labels == label))
      same = (found.ids[candidates] == ids) | (ids == UNKNOWN)
      assert same.all(1).any()  # It is one of the texts, with its own label.
  assert abs(np.mean(dropped) - 0.3) < 0.02


def test_an_epoch_has_every_text_once():
  config = debug(**{"data.word_dropout": 0.0, "data.batch_size": 12})
  found, data = encoded(config)
  batch = jax.jit(experiment.make_batch(config, UNKNOWN))
  seen = [batch(data, jnp.int32(step), jax.random.key(0)) for step in range(5)]
  rows = np.concatenate([one["ids"] for one in seen])
  np.testing.assert_array_equal(np.sort(rows, 0), np.sort(found.ids, 0))


def test_the_same_text_has_the_same_logits_in_any_bucket():
  logits = []
  for changes in ({"data.buckets": 1}, {"data.buckets": 6}, {"data.max_length": 48}):
    config = debug(**changes)
    model, params, variables = model_of(config)
    found, _ = encoded(config)
    classify = evaluation.make_classify(config, model, sharding.make_mesh())
    logits.append(classify(params, variables, found.ids, found.lengths))
  np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
  np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)
  assert np.ptp(logits[0], axis=0).min() > 1e-2


def test_the_loss_is_the_mean_of_that_of_each_experts_logits():
  config = debug(**{"model.dropout_rate": 0.0})
  model, params, variables = model_of(config)
  found, data = encoded(config)
  batch = {name: array[:6] for name, array in data.items()}
  loss, (metrics, _) = jax.jit(experiment.make_loss(config, model))(
      params, variables, batch, jax.random.key(0)
  )
  mask = evaluation.mask_of(found.ids[:6], found.lengths[:6])
  each = model.apply({"params": params, **variables}, found.ids[:6], mask, method="each")
  targets = 0.9 * np.eye(2)[found.labels[:6]] + 0.05
  expected = []
  for logits in map(np.float64, each):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    expected.append(-(targets * log_p).sum(-1).mean())
  np.testing.assert_allclose(loss, np.mean(expected), rtol=1e-5)
  right = (sum(each).argmax(-1) == found.labels[:6]).mean()
  assert float(metrics["accuracy"]) == pytest.approx(right)


NAMES = {
    "embedding": "network.transformer.embedding.embedding",
    "norm 0": "network.transformer.block0.attention_norm.scale",
    "kernel 1": "network.transformer.block1.attention.query.kernel",
    "bias 1": "network.transformer.block1.attention.query.bias",
    "adapter 1": "network.transformer.block1.attention_adapter_in.kernel",
    "last norm": "network.transformer.final_norm.bias",
    "head": "network.head.kernel",
    "n-grams": "ngrams.weights",
}


@pytest.mark.parametrize("trainable, names", [
    ("head", ()),
    ("adapters", ("norm 0", "adapter 1", "last norm")),
    ("bias", ("bias 1", "last norm")),
    ("last_1", ("kernel 1", "bias 1", "adapter 1", "last norm")),
    ("last_2", ("norm 0", "kernel 1", "bias 1", "adapter 1", "last norm")),
])  # fmt: skip
def test_trainable_names_the_parameters_that_are_trained(trainable, names):
  trained = checks.is_trained(trainable, num_layers=2)
  assert [k for k, v in NAMES.items() if trained(v)] == [*names, "head", "n-grams"]


def test_the_names_are_those_of_the_model():
  config = debug(**{"model.adapter_size": 2})
  _, params, _ = model_of(config)
  names = {finetuning.path_name(path) for path, _ in jax.tree.leaves_with_path(params)}
  assert set(NAMES.values()) <= names


def test_lower_blocks_move_less():
  assert [checks.blocks_above(name, 2) for name in NAMES.values()] == [2, 1, 0, 0, 0, 0, 0, 0]
  config = debug(**{"optimizer.layer_decay": 0.5, "optimizer.warmup_steps": 0})
  _, params, _ = model_of(config)
  optimizer = experiment.make_optimizer(config, num_layers=2)
  grads = jax.tree.map(jnp.ones_like, params)
  zero = jax.tree.map(jnp.zeros_like, params)  # Without decay, Adam's first step is the rate.
  updates, _ = optimizer.update(grads, optimizer.init(zero), zero)
  network = updates["network"]["transformer"]
  moved = [network["embedding"], network["block0"], network["block1"], updates["network"]["head"]]
  rates = [float(-jax.tree.leaves(part)[0].ravel()[0]) for part in moved]
  np.testing.assert_allclose(rates, 1e-2 * np.array([0.25, 0.5, 1, 1]), rtol=1e-3)


def classifier(config):
  model, params, variables = model_of(config)
  opened = run.Run(None, config, experiment, 0, params, variables)
  return evaluation.TextClassifier(opened, model, TOKENIZER, ("negative", "positive"))


def test_an_explanation_adds_up_and_its_attention_is_that_of_the_model():
  found = evaluation.explain(classifier(debug(**{"model.ngrams": 0})), "The film was not dull")
  count = len(found.tokens)
  assert found.attention.shape == (2, 2, count, count)
  np.testing.assert_allclose(found.attention.sum(-1), 1, atol=1e-5)
  # The scores share out what the text's logits differ by from those without tokens.
  model, params, _ = model_of(debug(**{"model.ngrams": 0}))
  network, params = model.network, params["network"]
  ids = jnp.array([TOKENIZER.token_to_id(token) for token in found.tokens])
  with_, without = (network.apply({"params": params}, i) for i in (ids, 0 * ids))
  k = ("negative", "positive").index(found.label)
  margins = [logits[k] - logits[1 - k] for logits in (with_, without)]
  assert found.scores.sum() == pytest.approx(float(margins[0] - margins[1]), abs=2e-3)
  assert found.probability == pytest.approx(float(jax.nn.softmax(with_)[k]), abs=1e-5)


def test_an_empty_text_has_no_explanation():
  with pytest.raises(UserError, match="the text is empty"):
    evaluation.explain(classifier(debug()), " ")


def test_mistakes_are_listed_surest_first(tmp_path):
  data = labelled_text.LabelledTexts(("one", "two", "six"), np.array([0, 1, 0]), ("bad", "good"))
  probabilities = np.array([[0.2, 0.8], [0.1, 0.9], [0.05, 0.95]])
  listed = evaluation._mistakes(data, probabilities)
  assert listed.splitlines()[:2] == ["taken for good (95.0%), is bad:", "six"]
  assert listed.index("six") < listed.index("one") and "two" not in listed


def test_masked_modelling_counts_hidden_tokens_only():
  config = configs.get_config("debug_pretrain")
  model = pretraining.make_model(config, encoder_of(config).options)
  found, _ = encoded(config)
  params = jax.jit(model.init)(jax.random.key(0), found.ids[:1])["params"]
  scores = pretraining.make_scores(config, model, TOKENIZER.token_to_id(tokens.MASK))
  evaluate = jax.jit(functools.partial(scores, train=False))
  loss, right = evaluate(params, found.ids[:8], found.lengths[:8], jax.random.key(0))
  assert loss.shape == right.shape == (8,)
  assert abs(float(loss.mean()) - np.log(model.transformer.vocab_size)) < 1.5
  # A bias that knows the answer makes it sure, and only for what it knows.
  common = np.bincount(found.ids[found.ids > 4]).argmax()
  sure = {**params, "bias": params["bias"].at[common].set(100.0)}
  _, right = evaluate(sure, found.ids, found.lengths, jax.random.key(0))
  share = np.mean(found.ids[found.ids > 4] == common)
  assert float(right.mean()) == pytest.approx(share, abs=0.08)
