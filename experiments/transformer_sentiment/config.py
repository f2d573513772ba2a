"""Presets of text classification by a transformer.

`python -m launch.train --config=experiments/transformer_sentiment/config.py:PRESET`

From scratch, on two cores:
  imdb            reviews of films (TFDS imdb_reviews)
  sst2            sentences from reviews (TFDS glue/sst2)
Learning from the reviews themselves, without labels:
  imdb_pretrain   masked language modelling on 75,000 reviews; then imdb with --config.init_from
From a published encoder, a folder named by --config.init_from (see README.md):
  imdb_finetune_minilm, sst2_finetune_minilm
On accelerators:
  imdb_large      six wide blocks; after imdb_pretrain with the same --config.encoder values
For tests:
  debug           seconds, on sentences made on the spot
  debug_pretrain  the same for masked language modelling

`--config.data.file=reviews.csv` trains any preset on a table of one's own (.csv, .tsv or
.jsonl), with its texts in data.text_column and its classes in data.label_column. What has
been measured is in README.md.
"""

import ml_collections
from ml_collections import config_dict

from dlx.errors import UserError

PRESETS = (
    "imdb", "sst2", "imdb_pretrain", "imdb_finetune_minilm", "sst2_finetune_minilm", "imdb_large",
    "debug", "debug_pretrain",
)  # fmt: skip


def get_config(preset: str = "imdb") -> ml_collections.ConfigDict:
  """The config of a preset, locked: every key that exists is here.

  Raises:
    UserError: there is no such preset.
  """
  if preset not in PRESETS:
    raise UserError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
  config = _base(preset)
  changes = {
      "sst2": _sst2, "imdb_pretrain": _imdb_pretrain, "imdb_large": _imdb_large,
      "imdb_finetune_minilm": _imdb_finetune_minilm,
      "sst2_finetune_minilm": _sst2_finetune_minilm,
      "debug": _debug, "debug_pretrain": _debug_pretrain,
  }  # fmt: skip
  if preset in changes:
    changes[preset](config)
  return config.lock()


def _base(preset: str) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict({
      "experiment": "experiments.transformer_sentiment",
      "preset": preset,
      "seed": 0,
      "init_from": config_dict.placeholder(str),  # A run, or a published encoder's folder.
      "trainable": "all",  # "all", "head", "adapters", "bias" or "last_N".
      "data": {
          "file": config_dict.placeholder(str),  # A table; takes the place of source.
          "text_column": "text",
          "label_column": "label",
          "source": "imdb_reviews",  # Or "glue/sst2", or "sentences", made on the spot.
          "validation": 2500,  # Texts taken from the training split.
          "vocab_size": 16_000,  # Of a new encoder, as lowercase is.
          "lowercase": True,
          "max_length": 512,  # Tokens of a text; its first quarter and its end are kept.
          "buckets": 8,  # Lengths that batches are cut to.
          "batch_size": 32,
          "word_dropout": 0.2,  # The share of tokens that become [UNK] in training.
          "mask_rate": 0.15,  # The share of tokens that masked language modelling hides.
      },
      "encoder": {  # Of a new one; init_from brings its own.
          "d_model": 256,
          "num_layers": 2,
          "num_heads": 4,
          "d_ff": 512,
          "positions": "sinusoidal",  # "sinusoidal", "learned", "rotary" or "none".
          "norm_first": True,
          "gated": False,
          "window": 1,  # Neighbours that a convolution in each block sees, 1 for none.
      },
      "model": {
          "dropout_rate": 0.2,
          "dtype": "float32",  # Of the blocks, or "bfloat16"; parameters are float32.
          "adapter_size": 0,  # Features of adapters in each block, 0 for none.
          "pooling": "mean",  # "mean", "max" or "first".
          "ngrams": 3,  # The longest n-gram that is counted, 0 for the network alone.
          "ngram_rows": 2**18,  # Of the table: the most frequent ones.
      },
      "label_smoothing": 0.1,
      "optimizer": {
          "learning_rate": 5e-4,
          "warmup_steps": 300,
          "decay": "cosine",  # "cosine", "linear" or "constant".
          "final_fraction": 0.0,
          "b1": 0.9,
          "b2": 0.98,
          "weight_decay": 0.1,
          "clip_norm": 1.0,
          "layer_decay": 1.0,  # The rate of a block as a share of that of the one above it.
      },
      "training": {
          "total_steps": 2800,  # Four epochs.
          "steps_per_call": 10,
          "eval_every": 700,
          "save_every": 350,
          "keep": 2,
          "fsdp": 1,  # Devices that share one copy of the parameters.
          "profile": config_dict.placeholder(str),  # Steps to trace, "START:STOP".
          "ema_decay": config_dict.FieldReference(0.998),  # None where a preset says so.
      },
  })


def _use_sst2(config):
  config.data.update({
      "source": "glue/sst2", "text_column": "sentence", "validation": 500, "max_length": 64,
      "buckets": 4,
  })  # fmt: skip


def _sst2(config):
  """Few texts for so many words: small embeddings, and neighbours in place of positions."""
  _use_sst2(config)
  config.data.update({"batch_size": 64, "word_dropout": 0.1})
  config.encoder.update({"d_model": 128, "d_ff": 256, "positions": "none", "window": 3})
  config.model.update({"dropout_rate": 0.3, "pooling": "max"})
  config.optimizer.learning_rate = 2e-3
  config.training.update({"total_steps": 3900, "eval_every": 975, "save_every": 390})


def _imdb_pretrain(config):
  """Neighbours in place of positions, as in sst2."""
  config.experiment = "experiments.transformer_sentiment.pretraining"
  config.data.max_length = 256
  config.data.buckets = 4
  config.encoder.update({"positions": "none", "window": 3})
  config.model.update({"dropout_rate": 0.1, "ngrams": 0})
  config.optimizer.learning_rate = 2e-3
  config.training.update({"total_steps": 2000, "eval_every": 500, "save_every": 250})


def _finetune(config):
  """What BERT's authors use, with smaller rates for lower blocks."""
  config.data.word_dropout = 0.0
  config.model.update({"dropout_rate": 0.1, "ngrams": 0})
  config.optimizer.update({
      "learning_rate": 5e-5, "decay": "linear", "b2": 0.999, "weight_decay": 0.01,
      "layer_decay": 0.9,
  })  # fmt: skip
  config.training.ema_decay = None


def _imdb_finetune_minilm(config):
  _finetune(config)
  config.data.update({"max_length": 256, "buckets": 4})
  config.optimizer.learning_rate = 1e-4
  config.training.update({"total_steps": 1400, "eval_every": 350, "save_every": 50})


def _sst2_finetune_minilm(config):
  _finetune(config)
  _use_sst2(config)
  config.data.update({"validation": 1000, "batch_size": 64})
  config.model.pooling = "max"
  config.label_smoothing = 0.0
  config.optimizer.update({"learning_rate": 1e-4, "layer_decay": 1.0})
  config.training.update({
      "total_steps": 1800, "eval_every": 225, "save_every": 225, "ema_decay": 0.998,
  })  # fmt: skip


def _imdb_large(config):
  config.data.update({"batch_size": 64, "vocab_size": 30_000})
  config.encoder.update({"d_model": 768, "num_layers": 6, "num_heads": 12, "d_ff": 3072})
  config.model.update({"dropout_rate": 0.1, "dtype": "bfloat16"})
  config.optimizer.update({"learning_rate": 5e-5, "layer_decay": 0.9})
  config.training.update({
      "total_steps": 1755, "steps_per_call": 100, "eval_every": 351, "save_every": 351,
  })  # fmt: skip


def _debug(config):
  config.data.update({
      "source": "sentences", "validation": 40, "vocab_size": 200, "max_length": 24,
      "buckets": 2, "batch_size": 16, "word_dropout": 0.1,
  })  # fmt: skip
  config.encoder.update({"d_model": 16, "d_ff": 32, "num_heads": 2})
  config.model.update({"dropout_rate": 0.1, "ngrams": 2, "ngram_rows": 256})
  config.optimizer.update({"learning_rate": 1e-2, "warmup_steps": 5})
  config.training.update({
      "total_steps": 120, "steps_per_call": 5, "eval_every": 40, "save_every": 30,
      "ema_decay": 0.9,
  })  # fmt: skip


def _debug_pretrain(config):
  _debug(config)
  config.experiment = "experiments.transformer_sentiment.pretraining"
