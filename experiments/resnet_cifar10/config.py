"""Presets of image classification by residual networks. The loss is in nats per image.

python -m launch.train --config=experiments/resnet_cifar10/config.py:PRESET --workdir=runs/resnet

cpu         the fast network, 13 epochs with Muon; two CPU cores, 31 minutes: 94.34 % (3 seeds)
resnet20    He et al.'s network of 20 layers and their recipe, 160 epochs; not yet measured
resnet18    ResNet-18 with the CIFAR stem, 80 epochs; GPU or TPU, not yet measured
wrn28_10    WideResNet-28-10, 160 epochs; GPU or TPU, not yet measured
speedrun94  the fast network in bfloat16, 10 epochs; GPU or TPU, not yet measured
speedrun96  a wider and deeper one with cutout, 37 epochs; GPU or TPU, not yet measured
debug       seconds, on generated shapes; for tests

--config.data.images=DIR trains any preset on a folder of images (one subfolder per class, or
MNIST's IDX files); --config.init_from=WORKDIR starts from a trained run.
"""

import jax

from dlx import presets, settings
from dlx.settings import Rule, count, number, one_of, run

SETTINGS = {
    **settings.image_data(
        "cifar10", "fashion_mnist", "mnist", "shapes", "gray_shapes", batch_size=500
    ),
    "augmentation.crop_padding": count(2, low=0),  # See dlx.data.augmentation; 0 is off.
    "augmentation.flip": one_of("alternating", "random", "none"),
    "augmentation.cutout": count(0, low=0),
    "augmentation.color_jitter": number(0.0, high=1.0),
    "augmentation.mixup": number(0.0),
    "model.name": one_of(
        "fast", "wide_fast", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110",
        "resnet18", "resnet34", "resnet50", "preact_resnet18", "wrn28_10",
    ),
    "model.width": number(1.0),  # A factor on all channels.
    "model.stem": one_of("cifar", "imagenet")._replace(when=("model.name", (
        "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet18", "resnet34",
        "resnet50", "preact_resnet18", "wrn28_10",
    ))),
    "model.dtype": one_of("float32", "bfloat16", "float64"),  # Of the computation.
    "init_from": run("experiments.resnet_cifar10:debug", optional=True),  # A run to start from.
    "trainable": one_of("all", "head", "last_stage"),
    "label_smoothing": number(0.2, high=1.0),
    "tta": one_of("flip_shift", "flip", "none"),  # Test-time augmentation.
    **settings.optimizers(
        "sgd", "adamw", "muon", learning_rate=0.5, warmup_steps="2 epochs", decay="linear",
        momentum=0.85, weight_decay=1e-3, clip_norm=None,
    ),
    **settings.training(
        total_steps="10 epochs", steps_per_execution=2, eval_every="1 epoch",
        save_every="1 epoch", eval_batch_size=100,
    ),
}  # fmt: skip
RULES = (
    Rule(
        lambda c: c.model.dtype != "float64" or jax.config.jax_enable_x64,
        "model.dtype is float64, which jax supports only with JAX_ENABLE_X64=1",
    ),
)
_PUBLISHED = {
    "data.batch_size": 128,
    "augmentation.crop_padding": 4, "augmentation.flip": "random",
    "label_smoothing": 0.0, "tta": "none",
    "optimizer.learning_rate": 0.1, "optimizer.warmup_steps": "1 epoch",
    "optimizer.decay": "cosine", "optimizer.momentum": 0.9,
    "training.steps_per_execution": 10,
}  # fmt: skip
PRESETS = {
    "cpu": {
        "data.num_validation": 1000, "data.batch_size": 1000,
        "optimizer.name": "muon", "optimizer.learning_rate": 0.15, "optimizer.warmup_steps": 20,
        "optimizer.momentum": 0.6, "optimizer.weight_decay": 0.1,
        "training.total_steps": 640, "training.eval_every": 160, "training.save_every": 40,
    },
    "resnet20": {
        **_PUBLISHED, "model.name": "resnet20", "optimizer.weight_decay": 1e-4,
        "training.total_steps": "160 epochs",
    },
    "resnet18": {
        **_PUBLISHED, "model.name": "resnet18", "optimizer.weight_decay": 5e-4,
        "augmentation.cutout": 8, "training.total_steps": "80 epochs",
    },
    "wrn28_10": {
        **_PUBLISHED, "model.name": "wrn28_10", "optimizer.weight_decay": 5e-4,
        "training.total_steps": "160 epochs",
    },
    # Jordan's recipes (2024): his rates are for a sum over the batch, these for its mean.
    "speedrun94": {
        "data.num_validation": 500, "data.batch_size": 1024, "model.dtype": "bfloat16",
        "optimizer.learning_rate": 1.5, "optimizer.weight_decay": 1.3e-3,
        "training.steps_per_execution": 48,
        "training.eval_every": "10 epochs", "training.save_every": "10 epochs",
    },
    "speedrun96": {
        "base": "speedrun94", "model.name": "wide_fast",
        "augmentation.crop_padding": 4, "augmentation.cutout": 12,
        "optimizer.learning_rate": 1.2, "optimizer.warmup_steps": "7.4 epochs",
        "training.total_steps": "37 epochs",
        "training.eval_every": "37 epochs", "training.save_every": "37 epochs",
    },
    "debug": {
        "data.dataset": "shapes", "data.size": 16, "data.num_validation": 96,
        "data.batch_size": 32,
        "augmentation.crop_padding": 1, "augmentation.cutout": 4,
        "augmentation.color_jitter": 0.1, "augmentation.mixup": 0.1, "model.width": 0.125,
        "optimizer.learning_rate": 0.05, "optimizer.warmup_steps": 4,
        "training.total_steps": "2 epochs", "training.steps_per_execution": 4,
        "training.eval_every": "1 epoch", "training.save_every": 8, "training.ema_decay": 0.9,
    },
    "debug_transfer": {"base": "debug", "init_from": settings.REQUIRED, "trainable": "head"},
}  # fmt: skip
get_config = presets.make("experiments.resnet_cifar10", SETTINGS, PRESETS, RULES)
