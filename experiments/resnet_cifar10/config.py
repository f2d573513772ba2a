"""Presets of image classification by residual networks; the README says which are measured.

`python -m launch.train --config=experiments/resnet_cifar10/config.py:PRESET`

  cpu           the fast network on CIFAR-10, 13 epochs with Muon; half an hour on two cores
  resnet20      He et al.'s network of 20 layers and their recipe, 160 epochs
  resnet18      ResNet-18 with the CIFAR stem, 80 epochs; GPU or TPU
  wrn28_10      WideResNet-28-10, 160 epochs; GPU or TPU
  speedrun94    the fast network in bfloat16, 10 epochs; GPU or TPU
  speedrun96    a wider and deeper one with cutout, 37 epochs; GPU or TPU
  debug         seconds, on shapes drawn on the spot; what the tests run

`--config.data.images=DIR` trains any preset on a folder of one's own, one subfolder a class;
`--config.init_from=WORKDIR` starts from a trained run, with other classes if need be.
"""

import ml_collections
from ml_collections import config_dict

from dlx.errors import UserError

PRESETS = ("cpu", "resnet20", "resnet18", "wrn28_10", "speedrun94", "speedrun96", "debug")


def get_config(preset: str = "cpu") -> ml_collections.ConfigDict:
  """The config of a preset, locked: every key that exists is here.

  Raises:
    UserError: there is no such preset.
  """
  if preset not in PRESETS:
    raise UserError(f"preset {preset!r} is not one of {', '.join(PRESETS)}")
  config = _base(preset)
  if preset == "cpu":
    _cpu(config)
  elif preset == "debug":
    _debug(config)
  elif preset.startswith("speedrun"):
    _speedrun(config, preset)
  else:
    _published(config, preset)
  return config.lock()


def _base(preset: str) -> ml_collections.ConfigDict:
  return ml_collections.ConfigDict({
      "experiment": "experiments.resnet_cifar10",
      "preset": preset,
      "seed": 0,
      "data": {
          "images": config_dict.placeholder(str),  # A folder; takes the place of source.
          "source": "cifar10",  # Or "shapes".
          "size": 32,
          "validation": 5000,  # Images taken from the training split.
          "batch_size": 500,
      },
      "augmentation": {  # See dlx.data.augmentation; 0 is off.
          "crop": 2,
          "flip": "alternating",  # "alternating", "random" or "none".
          "cutout": 0,
          "colour": 0.0,
          "mixup": 0.0,
      },
      "model": {
          "name": "fast",  # Or a function of dlx.models.resnet, such as "resnet20".
          "width": 1.0,  # A factor on all channels.
          "stem": "cifar",  # Or "imagenet"; of the published networks only.
          "dtype": "float32",  # To compute in; "bfloat16" on accelerators, or "float64".
      },
      "init_from": config_dict.placeholder(str),  # The folder of a run to start from.
      "trainable": "all",  # "all", "head" or "last_stage"; the rest stays as it is.
      "label_smoothing": 0.2,
      "test_time": "flip_shift",  # Views averaged in evaluation: "none", "flip", "flip_shift".
      "optimizer": {
          "name": "sgd",  # "sgd", "adamw" or "muon".
          "learning_rate": 0.5,
          "warmup_steps": 180,
          "decay": "linear",  # "cosine", "linear" or "constant".
          "final_fraction": 0.0,
          "momentum": 0.85,  # Of sgd and muon.
          "b1": 0.9,  # b1 and b2 of adamw.
          "b2": 0.99,
          "adam_learning_rate": 4e-3,  # Of muon, for what is no matrix.
          "weight_decay": 1e-3,
          "clip_norm": float("inf"),
      },
      "training": {
          "total_steps": 900,  # Ten epochs.
          "steps_per_call": 2,
          "eval_every": 90,
          "save_every": 90,
          "keep": 2,
          "fsdp": 1,  # Devices that share one copy of the parameters.
          "profile": config_dict.placeholder(str),  # Steps to trace, "START:STOP".
          "ema_decay": config_dict.placeholder(float),
      },
  })


def _cpu(config):
  config.data.update({"validation": 1000, "batch_size": 1000})
  config.optimizer.update({
      "name": "muon", "learning_rate": 0.15, "warmup_steps": 20, "momentum": 0.6,
      "weight_decay": 0.1,
  })  # fmt: skip
  config.training.update({"total_steps": 640, "eval_every": 160, "save_every": 40})


def _published(config, name):
  config.model.name = name
  epochs = {"resnet20": 160, "resnet18": 80, "wrn28_10": 160}[name]
  config.data.batch_size = 128
  config.augmentation.update({"crop": 4, "flip": "random"})
  config.update({"label_smoothing": 0.0, "test_time": "none"})
  config.optimizer.update({
      "learning_rate": 0.1, "warmup_steps": 351, "decay": "cosine", "momentum": 0.9,
      "weight_decay": 1e-4 if name == "resnet20" else 5e-4,
  })  # fmt: skip
  if name == "resnet18":
    config.augmentation.cutout = 8
  steps = 45_000 // 128  # Of an epoch.
  config.training.update({
      "total_steps": epochs * steps, "steps_per_call": 10, "eval_every": steps,
      "save_every": steps,
  })  # fmt: skip


def _speedrun(config, name):
  """Jordan's recipes (2024): his rates are for a sum over the batch, these for its mean."""
  config.data.update({"validation": 500, "batch_size": 1024})
  config.model.dtype = "bfloat16"
  epochs = 10
  config.optimizer.update({"learning_rate": 1.5, "weight_decay": 1.3e-3})
  if name == "speedrun96":
    epochs = 37
    config.model.name = "wide_fast"
    config.augmentation.update({"crop": 4, "cutout": 12})
    config.optimizer.learning_rate = 1.2
  steps = 49_500 // 1024 * epochs
  config.optimizer.warmup_steps = steps // 5
  config.training.update({
      "total_steps": steps, "steps_per_call": 48, "eval_every": steps, "save_every": steps,
  })  # fmt: skip


def _debug(config):
  config.data.update({"source": "shapes", "size": 16, "validation": 96, "batch_size": 32})
  config.augmentation.update({"crop": 1, "cutout": 4, "colour": 0.1, "mixup": 0.1})
  config.model.width = 0.125
  config.optimizer.update({"learning_rate": 0.05, "warmup_steps": 4})
  config.training.update({
      "total_steps": 24, "steps_per_call": 4, "eval_every": 12, "save_every": 8,
      "ema_decay": 0.9,
  })  # fmt: skip
