"""Presets of forecasting: the next value of a series. The loss is a squared error, standardized.

python -m launch.train --config=experiments/forecasting/config.py:PRESET --workdir=runs/forecast

mackey_glass              GRU, the Mackey-Glass equation every 6 units of time; two CPU cores,
                          1 minute: NRMSE 0.0020 (3 seeds)
mackey_glass_transformer  the same by a causal transformer; 3 minutes: 0.0114
sunspots                  yearly sunspot numbers, from sunspots.csv (README.md); 10 seconds: 0.304
debug                     seconds; for tests

--config.data.file=TABLE --config.data.column=NAME trains any preset on a column of a .csv, .tsv or
.jsonl file. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, matching, one_of, positive, text

TRANSFORMER = ("model.network", ("transformer",))
SETTINGS = {
    "data.file": text(),  # A table, which replaces the dataset; rows in time order.
    "data.column": matching("value", r"(?s).+", "the name of a column", ""),
    "data.dataset": one_of("mackey_glass"),
    "data.num_values": count(6000),  # Of mackey_glass.
    "data.interval": count(6, high=1000),  # Time between two of its values.
    "data.window": count(24),  # The past values that a forecast reads.
    "data.horizon": count(1),  # How far behind the last of them the target is.
    "data.validation_fraction": positive(0.15, high=0.4),  # Before the test values.
    "data.test_fraction": positive(0.15, high=0.4),  # The end of the series.
    "data.batch_size": count(64),
    "model.network": one_of("gru", "lstm", "rnn", "transformer"),
    "model.d_hidden": count(64),
    "model.num_layers": count(1),
    "model.num_heads": count(4)._replace(when=TRANSFORMER),
    "model.d_ff": count(128)._replace(when=TRANSFORMER),
    "model.positions": one_of("rotary", "sinusoidal")._replace(when=TRANSFORMER),
    "model.is_causal": flag(True)._replace(when=TRANSFORMER),
    **settings.adamw(learning_rate=5e-3, warmup_steps=100, b2=0.999),
    **settings.training(
        total_steps="100 epochs", steps_per_execution=50, eval_every="10 epochs",
        save_every="10 epochs", eval_batch_size=512,
    ),
}  # fmt: skip
RULES = (
    Rule(
        lambda c: c.model.network != "transformer"
        or c.model.d_hidden % (2 * c.model.num_heads) == 0,
        "model.d_hidden must be a multiple of 2 model.num_heads",
        {"model.network": "transformer", "model.d_hidden": 13},
    ),
)
PRESETS = {
    "mackey_glass": {},
    "mackey_glass_transformer": {
        "model.network": "transformer", "model.num_layers": 2, "optimizer.learning_rate": 4e-3,
    },
    "sunspots": {
        "data.file": "sunspots.csv", "data.column": "SUNACTIVITY", "data.window": 12,
        "data.batch_size": 16, "model.d_hidden": 16, "optimizer.warmup_steps": 10,
        "training.total_steps": "40 epochs", "training.steps_per_execution": 12,
        "training.eval_every": "2 epochs", "training.save_every": "2 epochs",
    },
    "debug": {
        "data.num_values": 300, "data.window": 8, "data.horizon": 2, "data.batch_size": 16,
        "model.d_hidden": 8, "optimizer.learning_rate": 1e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": "3 epochs", "training.steps_per_execution": 4,
        "training.eval_every": "1 epoch", "training.save_every": 6,
        "training.eval_batch_size": 32, "training.ema_decay": 0.9,
    },
}  # fmt: skip
get_config = presets.make("experiments.forecasting", SETTINGS, PRESETS, RULES)
