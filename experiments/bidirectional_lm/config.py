"""Presets of a bidirectional language model of sentences. The loss is in nats per word.

python -m launch.train --config=experiments/bidirectional_lm/config.py:PRESET --workdir=DIR

brown  the Brown corpus, two layers of 256 units in each direction; needs --config.data.file=FILE;
       two CPU cores, not measured yet
debug  seconds, on generated sentences; for tests

A tagger reads the states of a run: --config=experiments/tagging/config.py:brown_elmo
--config.init_from=DIR. README.md has the file's format.
"""

from dlx import presets, settings
from dlx.settings import count, flag, one_of, rate
from experiments.tagging.config import DATA

SETTINGS = {
    **DATA,
    "data.batch_size": count(64),
    "data.lowercase": flag(True),
    "data.min_count": count(2),  # Of a word that has an embedding; others are one unknown word.
    "model.d": count(256),  # Of the embedding, and of each direction's states.
    "model.num_layers": count(2),
    "model.cell": one_of("lstm", "gru", "rnn"),
    "model.dropout_rate": rate(0.3),
    "model.recurrent_dropout_rate": rate(0.2),
    **settings.adamw(learning_rate=2e-3, warmup_steps=300, b2=0.98, weight_decay=0.01),
    **settings.training(
        total_steps="8 epochs", eval_every="1 epoch", save_every="0.5 epochs", ema_decay=0.998,
    ),
}  # fmt: skip
PRESETS = {
    "brown": {"data.file": settings.REQUIRED},
    "debug": {
        "data.num_validation": 40, "data.max_length": 12, "data.num_lengths": 2,
        "data.batch_size": 16, "model.d": 8, "model.num_layers": 1, "model.dropout_rate": 0.1,
        "optimizer.learning_rate": 3e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
}  # fmt: skip
get_config = presets.make("experiments.bidirectional_lm", SETTINGS, PRESETS)
