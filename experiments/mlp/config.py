"""Presets of feed-forward networks. The loss is in nats per example (a squared error for curve).

python -m launch.train --config=experiments/mlp/config.py:PRESET --workdir=runs/mlp

fashion       Fashion-MNIST, one hidden layer of 100 relu units
fashion_deep  the same with three hidden layers of 512, 256 and 128 units, and dropout: 89.52 %
curve         a noisy sine, one hidden layer of 64 tanh units
moons         two half circles in the plane, two hidden layers of 32 relu units
debug         seconds, on generated shapes; for tests; so are the other debug presets

--config.data.file=TABLE --config.data.target=COLUMN trains any preset on a .csv, .tsv or .jsonl
file of numbers; --config.data.images=DIR names Fashion-MNIST's IDX files.
"""

from dlx import presets, settings
from dlx.data import vector_settings, vectors
from dlx.models import mlp
from dlx.settings import count, matching, one_of, rate

SETTINGS = {
    "task": one_of(*vectors.TASKS),
    **vector_settings.SETTINGS,
    "data.batch_size": count(128, optional=True),  # None: all examples in every step.
    "model.sizes": matching(  # Units of the hidden layers; none: a linear model.
        "100", r"([1-9]\d{0,5}(-[1-9]\d{0,5})*)?", 'layer sizes such as "256-128", or ""', "256-0"
    ),
    "model.activation": one_of(*mlp.ACTIVATIONS),
    "model.dropout_rate": rate(0.0),
    **settings.optimizers("adamw", "sgd", learning_rate=1e-3, b2=0.999, clip_norm=None),
    **settings.training(
        total_steps="20 epochs", eval_every="1 epoch", save_every="1 epoch", eval_batch_size=1000
    ),
}
PRESETS = {
    "fashion": {"optimizer.weight_decay": 0.01},
    "fashion_deep": {
        "base": "fashion", "model.sizes": "512-256-128", "model.dropout_rate": 0.2,
    },
    "curve": {
        "task": "regression", "data.dataset": "curve", "data.num_points": 200,
        "data.num_validation": 100, "data.batch_size": None, "model.sizes": "64",
        "model.activation": "tanh", "optimizer.learning_rate": 1e-2,
        "training.total_steps": 2000, "training.steps_per_execution": 100,
        "training.eval_every": 100, "training.save_every": 500,
    },
    "moons": {
        "data.dataset": "moons", "data.num_points": 600, "data.num_validation": 200,
        "data.batch_size": None, "model.sizes": "32-32", "optimizer.learning_rate": 1e-2,
        "training.total_steps": 500, "training.steps_per_execution": 50,
        "training.eval_every": 50, "training.save_every": 250,
    },
    "debug": {
        "data.dataset": "gray_shapes", "data.size": 8, "data.num_validation": 96,
        "data.batch_size": 32, "model.sizes": "16-8", "model.dropout_rate": 0.1,
        "training.total_steps": "3 epochs", "training.steps_per_execution": 4,
        "training.eval_every": "1 epoch", "training.save_every": 6, "training.ema_decay": 0.9,
    },
    "debug_curve": {
        "base": "curve", "data.num_points": 60, "data.num_validation": 30, "model.sizes": "8",
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10,
    },
}  # fmt: skip
get_config = presets.make("experiments.mlp", SETTINGS, PRESETS)
