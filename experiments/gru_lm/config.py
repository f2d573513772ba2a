"""Presets of the character language model. Loss is in nats per character.

  preset              command after `python -m launch.train --config=experiments/gru_lm/config.py:`
  quickstart          this Python's standard library as text; two cores, 3 minutes
  shakespeare         Tiny Shakespeare (TFDS); two cores, 39 minutes
  shakespeare_large   the same on a GPU or TPU, wider; not yet measured
  debug               seconds, for tests

The measured figures, with their commands, are in README.md beside this file.
`--config.data.text=PATH` trains any preset on a text file of one's own.
"""

import ml_collections
from ml_collections import config_dict

from dlx.errors import UserError

PRESETS = ("quickstart", "shakespeare", "shakespeare_large", "debug")


def get_config(preset: str = "quickstart") -> ml_collections.ConfigDict:
  """The config of a preset, locked: every key that exists is here.

  Raises:
    UserError: there is no such preset.
  """
  if preset not in PRESETS:
    raise UserError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
  config = _base(preset)
  if preset != "quickstart":
    {"shakespeare": _shakespeare, "shakespeare_large": _large, "debug": _debug}[preset](config)
  return config.lock()


def _base(preset: str) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict({
      "experiment": "experiments.gru_lm",
      "preset": preset,
      "seed": 0,
      "data": {
          "text": config_dict.placeholder(str),  # A file; takes the place of source.
          "source": "python_source",  # Or "tiny_shakespeare".
          "max_characters": 4_000_000,  # Of python_source.
          "batch_size": 32,
          "window": 128,
          "stream": False,  # Windows that continue each other, with the state carried on.
          "eval_window": 256,
      },
      "model": {
          "cell": "gru",  # "rnn", "gru" or "lstm".
          "reset_after": True,  # The form of the GRU; see dlx.layers.gru.
          "d_embed": 64,
          "d_hidden": 384,
          "num_layers": 1,
          "dropout_rate": 0.0,
          "recurrent_dropout_rate": 0.0,
          "residual": True,
      },
      "optimizer": {
          "learning_rate": 4e-3,
          "warmup_steps": 50,
          "decay": "cosine",  # "cosine", "linear" or "constant".
          "final_fraction": 0.05,
          "b1": 0.9,
          "b2": 0.99,
          "weight_decay": 0.05,
          "clip_norm": 1.0,
      },
      "training": {
          "total_steps": 1200,
          "steps_per_call": 10,
          "eval_every": 150,
          "save_every": 100,
          "keep": 2,
          "fsdp": 1,  # Devices that share one copy of the parameters.
          "profile": config_dict.placeholder(str),  # Steps to trace, "START:STOP".
          "ema_decay": config_dict.placeholder(float),
      },
  })


def _shakespeare(config):
  config.data.source = "tiny_shakespeare"
  config.model.update({"d_embed": 128, "d_hidden": 512, "num_layers": 2, "dropout_rate": 0.45})
  # Averaged weights take the place of a falling rate.
  config.optimizer.update({"learning_rate": 3e-3, "decay": "constant", "weight_decay": 0.2})
  config.training.update({
      "total_steps": 7500, "steps_per_call": 4, "eval_every": 200, "save_every": 100,
      "ema_decay": 0.999,
  })  # fmt: skip


def _large(config):
  _shakespeare(config)
  config.data.batch_size = 128
  config.model.update({"d_hidden": 1024, "num_layers": 3, "dropout_rate": 0.5})
  config.training.update({"total_steps": 4000, "steps_per_call": 50, "save_every": 500})


def _debug(config):
  config.data.update({"max_characters": 60_000, "batch_size": 8, "window": 16, "eval_window": 32})
  config.model.update({"d_embed": 8, "d_hidden": 16, "num_layers": 2, "dropout_rate": 0.1})
  config.optimizer.warmup_steps = 5
  config.training.update({
      "total_steps": 40, "steps_per_call": 5, "eval_every": 20, "save_every": 10,
      "ema_decay": 0.9,
  })  # fmt: skip
