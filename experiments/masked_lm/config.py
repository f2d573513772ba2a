"""Presets of masked language modelling. The loss is in nats per masked token.

python -m launch.train --config=experiments/masked_lm/config.py:PRESET --workdir=runs/masked_lm

imdb                 75,000 film reviews without their labels; two CPU cores, 47 minutes: 3.93 nats
imdb_next_sentence   the same with BERT's second task; 70 minutes with pauses on a busy machine:
                     4.07 nats, 55.8 % of the pairs
debug                seconds, on generated sentences; for tests
debug_next_sentence  the same on generated reviews, with the second task

--config.data.file=TABLE trains on the documents of a table. A classifier starts from the run:
--config=experiments/transformer_sentiment/config.py:imdb --config.init_from=runs/masked_lm
"""

from dlx import presets, settings
from dlx.data import documents
from dlx.settings import Rule, count, flag, one_of, positive, rate, run
from experiments.transformer_sentiment.config import DATA, ENCODER, RULES

RETIRED = ("data.label_column",)  # Documents need no labels here.
SETTINGS = {
    "init_from": run("experiments.masked_lm:debug", optional=True),  # Or a published encoder.
    **{key: setting for key, setting in DATA.items() if key not in RETIRED},
    "data.dataset": one_of(*documents.SOURCES),
    "data.next_sentence": flag(False),  # Documents as two parts, which follow each other or not.
    "data.mask_rate": positive(0.15, high=1.0),  # The fraction of tokens to predict.
    **ENCODER,
    "model.dropout_rate": rate(0.1),
    "model.dtype": one_of("float32", "bfloat16", "float64"),
    "model.adapter_size": count(0, low=0),
    **settings.adamw(learning_rate=2e-3, warmup_steps=300, b2=0.98, weight_decay=0.1),
    **settings.training(total_steps=2000, eval_every=500, save_every=250, ema_decay=0.998),
}
RULES = (*RULES, Rule(
    lambda c: not c.data.next_sentence or c.data.batch_size > 1,
    "data.next_sentence needs a data.batch_size of 2 or more, other documents to draw B from",
    {"data.next_sentence": True, "data.batch_size": 1},
))  # fmt: skip
PRESETS = {
    # A convolution over neighboring tokens in place of positions.
    "imdb": {
        "data.max_length": 256, "data.num_lengths": 4,
        "encoder.positions": "none", "encoder.conv_width": 3,
    },
    "imdb_next_sentence": {"base": "imdb", "data.next_sentence": True},
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "data.vocab_size": 200,
        "data.max_length": 24, "data.num_lengths": 2, "data.batch_size": 16,
        "encoder.d_model": 16, "encoder.num_layers": 1, "encoder.d_ff": 32,
        "encoder.num_heads": 2,
        "optimizer.learning_rate": 1e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 120, "training.steps_per_execution": 5,
        "training.eval_every": 40, "training.save_every": 30, "training.ema_decay": 0.9,
    },
    "debug_next_sentence": {
        "base": "debug", "data.dataset": "reviews", "data.next_sentence": True,
        "data.num_lengths": 1, "data.batch_size": 32,
        "encoder.d_model": 32, "encoder.num_layers": 2, "encoder.d_ff": 64,
        "model.dropout_rate": 0.0, "optimizer.learning_rate": 3e-3,
        "training.total_steps": 40, "training.eval_every": 20, "training.save_every": 10,
    },
}  # fmt: skip
get_config = presets.make("experiments.masked_lm", SETTINGS, PRESETS, RULES)
