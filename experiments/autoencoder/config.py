"""Presets of autoencoders. The loss is in nats per image (squared error for `linear`).

python -m launch.train --config=experiments/autoencoder/config.py:PRESET --workdir=runs/auto

On Fashion-MNIST each takes 25 to 85 seconds on two CPU cores; README.md has the results.

linear       16 units with tied weights, without nonlinearity: the subspace of PCA
sigmoid      256 sigmoid units with tied weights; all presets below change one thing
sparse       the mean activation of each unit is drawn to 0.05
denoising    a quarter of the pixels is set to zero in the input
contractive  a penalty on the encoder's Jacobian
gaussian     Gaussian noise on the code
bernoulli    binary codes
stacked      a second layer, of 64 units, on the frozen layer of init_from (a run of `sigmoid`)
finetuned    both layers trained together, from init_from (a run of `stacked`)
deep         the same two layers, trained together from random weights
debug        seconds, on generated shapes; for tests; so are the other debug presets

The presets are for Fashion-MNIST: from a prepared TFDS data set, or with
--config.data.images=DIR from its four IDX files.
"""

from dlx import presets, settings
from dlx.settings import Rule, flag, matching, number, one_of, positive, rate, run

SETTINGS = {
    "init_from": run("experiments.autoencoder:debug", optional=True),  # A run to start from.
    "trainable": one_of("all", "last_layer"),  # last_layer: greedy, the layers below are frozen.
    **settings.image_data(
        "fashion_mnist", "mnist", "cifar10", "shapes", "gray_shapes", batch_size=500
    ),
    "model.sizes": matching(  # Units of the layers; the last one is the code.
        "256", r"[1-9]\d*(-[1-9]\d*)*", 'layer sizes such as "256-64"', "256-0"
    ),
    "model.activation": one_of("sigmoid", "identity"),
    "model.tied": flag(True),  # The decoder's kernel is the encoder's, transposed.
    "model.code": one_of("deterministic", "gaussian", "bernoulli"),
    "model.code_std": positive(0.3)._replace(when=("model.code", ("gaussian",))),
    "corruption.kind": one_of("none", "gaussian", "masking"),
    "corruption.amount": rate(0.25)._replace(  # Standard deviation, or fraction of the pixels.
        when=("corruption.kind", ("gaussian", "masking"))
    ),
    "penalty.kind": one_of("none", "l1", "kl", "contractive"),
    "penalty.weight": number(0.1)._replace(when=("penalty.kind", ("l1", "kl", "contractive"))),
    "penalty.rate": positive(0.05, high=0.99)._replace(when=("penalty.kind", ("kl",))),
    **settings.optimizers("adamw", "sgd", learning_rate=1e-2, warmup_steps=100, clip_norm=None),
    **settings.training(
        total_steps="10 epochs", eval_every="1 epoch", save_every="1 epoch", eval_batch_size=500
    ),
}
RULES = (
    Rule(
        lambda c: c.model.activation == "sigmoid"
        or (c.model.code != "bernoulli" and c.penalty.kind != "kl"),
        "model.code=bernoulli and penalty.kind=kl need model.activation=sigmoid",
        {"model.activation": "identity", "model.code": "bernoulli"},
    ),
    Rule(
        lambda c: c.trainable == "all" or c.init_from is not None,
        "trainable=last_layer needs init_from, a run with the layers below",
        {"trainable": "last_layer", "init_from": None},
    ),
)
PRESETS = {
    "linear": {
        "model.sizes": "16", "model.activation": "identity",
        "data.batch_size": 11000, "optimizer.name": "sgd", "optimizer.learning_rate": 0.01,
        "optimizer.momentum": 0.97, "optimizer.warmup_steps": 20,
        "training.total_steps": "200 epochs", "training.eval_every": "20 epochs",
        "training.save_every": "20 epochs",
    },
    "sigmoid": {},
    "sparse": {"penalty.kind": "kl", "penalty.weight": 1.0},
    "denoising": {"corruption.kind": "masking"},
    "contractive": {"penalty.kind": "contractive"},
    "gaussian": {"model.code": "gaussian"},
    "bernoulli": {"model.code": "bernoulli"},
    "stacked": {
        "model.sizes": "256-64", "init_from": settings.REQUIRED, "trainable": "last_layer",
    },
    "finetuned": {"model.sizes": "256-64", "init_from": settings.REQUIRED},
    "deep": {"model.sizes": "256-64"},
    "debug": {
        "data.dataset": "gray_shapes", "data.size": 8, "data.num_validation": 96,
        "data.batch_size": 32, "model.sizes": "8", "model.code": "gaussian",
        "corruption.kind": "masking", "penalty.kind": "kl",
        "optimizer.learning_rate": 0.01, "optimizer.warmup_steps": 4,
        "training.total_steps": "4 epochs", "training.steps_per_execution": 4,
        "training.eval_every": "1 epoch", "training.save_every": 8,
        "training.eval_batch_size": 96,
    },
    "debug_stacked": {
        "base": "debug", "init_from": settings.REQUIRED, "trainable": "last_layer",
        "model.sizes": "8-2", "model.code": "bernoulli", "penalty.kind": "contractive",
    },
    "debug_linear": {
        "base": "debug", "model.sizes": "4", "model.activation": "identity",
        "model.code": "deterministic", "corruption.kind": "none", "penalty.kind": "none",
        "data.batch_size": 384, "optimizer.name": "sgd", "optimizer.learning_rate": 0.01,
        "optimizer.momentum": 0.95, "training.total_steps": "400 epochs",
        "training.steps_per_execution": 50, "training.eval_every": "100 epochs",
        "training.save_every": "100 epochs",
    },
}  # fmt: skip
get_config = presets.make("experiments.autoencoder", SETTINGS, PRESETS, RULES)
