"""Presets of text classification by a transformer. None has been measured yet.

`python -m launch.train --config=experiments/transformer_sentiment/config.py:PRESET`

  imdb    reviews of films, from scratch (TFDS imdb_reviews); two cores
  sst2    sentences from reviews, from scratch (TFDS glue/sst2); two cores
  debug   seconds, on sentences made on the spot; what the tests run

`--config.data.file=reviews.csv` trains any preset on a table of one's own (.csv, .tsv or
.jsonl), with its texts in data.text_column and its classes in data.label_column.
"""

import ml_collections
from ml_collections import config_dict

from dlx.errors import UserError

PRESETS = ("imdb", "sst2", "debug")


def get_config(preset: str = "imdb") -> ml_collections.ConfigDict:
  """The config of a preset, locked: every key that exists is here.

  Raises:
    UserError: there is no such preset.
  """
  if preset not in PRESETS:
    raise UserError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
  config = _base(preset)
  if preset != "imdb":
    {"sst2": _sst2, "debug": _debug}[preset](config)
  return config.lock()


def _base(preset: str) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict({
      "experiment": "experiments.transformer_sentiment",
      "preset": preset,
      "seed": 0,
      "data": {
          "file": config_dict.placeholder(str),  # A table; takes the place of source.
          "text_column": "text",
          "label_column": "label",
          "source": "imdb_reviews",  # Or "glue/sst2", or "sentences", made on the spot.
          "validation": 2500,  # Texts taken from the training split.
          "vocab_size": 8000,
          "lowercase": True,
          "max_length": 256,  # Tokens of a text; its first quarter and its end are kept.
          "buckets": 4,  # Lengths that batches are cut to.
          "batch_size": 32,
          "word_dropout": 0.2,  # The share of tokens that become [UNK] in training.
      },
      "model": {
          "d_model": 128,
          "num_layers": 2,
          "num_heads": 4,
          "d_ff": 256,
          "positions": "sinusoidal",  # "sinusoidal", "learned", "rotary" or "none".
          "norm_first": True,
          "gated": False,
          "dropout_rate": 0.2,
          "pooling": "mean",  # "mean", "max" or "first".
      },
      "label_smoothing": 0.1,
      "optimizer": {
          "learning_rate": 1e-3,
          "warmup_steps": 300,
          "decay": "cosine",  # "cosine", "linear" or "constant".
          "final_fraction": 0.0,
          "b1": 0.9,
          "b2": 0.98,
          "weight_decay": 0.1,
          "clip_norm": 1.0,
      },
      "training": {
          "total_steps": 4200,  # Six epochs.
          "steps_per_call": 10,
          "eval_every": 700,
          "save_every": 350,
          "keep": 2,
          "ema_decay": 0.998,
      },
  })


def _sst2(config):
  config.data.update({
      "source": "glue/sst2", "text_column": "sentence", "validation": 1347, "max_length": 64,
  })  # fmt: skip
  config.training.update({"total_steps": 12_000, "eval_every": 2000, "save_every": 1000})


def _debug(config):
  config.data.update({
      "source": "sentences", "validation": 40, "vocab_size": 200, "max_length": 24,
      "buckets": 2, "batch_size": 16, "word_dropout": 0.1,
  })  # fmt: skip
  config.model.update({"d_model": 16, "d_ff": 32, "num_heads": 2, "dropout_rate": 0.1})
  config.optimizer.update({"learning_rate": 1e-2, "warmup_steps": 5})
  config.training.update({
      "total_steps": 120, "steps_per_call": 5, "eval_every": 40, "save_every": 30,
      "ema_decay": 0.9,
  })  # fmt: skip
