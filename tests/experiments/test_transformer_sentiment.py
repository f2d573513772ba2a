"""The text classifier: presets, splits, batches, padding, and what evaluation counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import labelled_text, tokens
from dlx.errors import UserError
from experiments.transformer_sentiment import config as configs
from experiments.transformer_sentiment import experiment, splits


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


def model_of(config):
  model = experiment.make_model(config, TOKENIZER.get_vocab_size(), 2)
  ids = jnp.zeros((1, 4), jnp.int32)
  return model, jax.jit(model.init)(jax.random.key(0), ids)["params"]


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_a_preset_has_every_key_is_locked_and_builds(preset, whole_preset):
  config = whole_preset(configs, experiment, preset)
  model = experiment.make_model(config, 50, 2)
  ids = jnp.zeros((2, config.data.max_length), jnp.int32)
  variables = jax.eval_shape(model.init, jax.random.key(0), ids)
  assert jax.eval_shape(model.apply, variables, ids).shape == (2, 2)


def test_an_unknown_preset_is_refused():
  with pytest.raises(UserError, match="'imbd' is not one of imdb, sst2"):
    configs.get_config("imbd")


@pytest.mark.parametrize("changes, message", [
    ({"model.positions": "alibi"}, "positions is 'alibi'; use sinusoidal"),
    ({"model.pooling": "last"}, "pooling is 'last'; use mean, max, first"),
    ({"model.num_heads": 3}, "d_model is 16; it must be a multiple of twice num_heads, 6"),
    ({"data.word_dropout": 1.0}, "word_dropout is 1.0; use 0 <= rate < 1"),
    ({"data.max_length": 2}, "max_length is 2; it must be at least 4"),
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
    model, params = model_of(config)
    found, _ = encoded(config)
    classify = experiment.make_classify(config, model)
    logits.append(classify(params, found.ids, found.lengths))
  np.testing.assert_allclose(logits[0], logits[1], atol=1e-5)
  np.testing.assert_allclose(logits[0], logits[2], atol=1e-5)
  assert np.ptp(logits[0], axis=0).min() > 1e-2


def test_the_loss_is_that_of_the_logits():
  config = debug(**{"model.dropout_rate": 0.0})
  model, params = model_of(config)
  found, data = encoded(config)
  batch = {name: array[:6] for name, array in data.items()}
  loss, (metrics, _) = jax.jit(experiment.make_loss(config, model))(
      params, {}, batch, jax.random.key(0)
  )
  logits = np.float64(
      experiment.make_classify(config, model)(params, found.ids[:6], found.lengths[:6])
  )
  log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
  targets = 0.9 * np.eye(2)[found.labels[:6]] + 0.05
  np.testing.assert_allclose(loss, -(targets * log_p).sum(-1).mean(), rtol=1e-5)
  assert float(metrics["accuracy"]) == pytest.approx(
      (logits.argmax(-1) == found.labels[:6]).mean()
  )
