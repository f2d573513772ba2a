"""Presets of the recurrent language model. The loss is in nats per character (or other token).

python -m launch.train --config=experiments/gru_lm/config.py:PRESET --workdir=runs/gru_lm

quickstart         the source of this Python's standard library; two CPU cores, 3 minutes: 1.0595
shakespeare        Tiny Shakespeare (TFDS); two CPU cores, 38 minutes: 1.3971 on validation + test
brown              words of Brown, the file --config.data.text; 90 busy minutes: perplexity 202.6
shakespeare_large  the same, wider, on a GPU or TPU; not yet measured
debug              seconds; for tests
debug_stream       debug, tied, with the state carried from batch to batch

--config.data.text=FILE trains any preset on a text file. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, one_of, rate

SETTINGS = {
    **settings.language_data("python_source", "tiny_shakespeare"),
    "data.stream": flag(False),  # Sequences continue those of the previous batch, and the state.
    "model.cell": one_of("gru", "rnn", "lstm"),
    "model.reset_after": flag(True),  # The form of the GRU; see dlx.layers.gru.
    "model.d_embed": count(64),
    "model.d_hidden": count(384),
    "model.num_layers": count(1),
    "model.dropout_rate": rate(0.0),
    "model.recurrent_dropout_rate": rate(0.0),
    "model.residual": flag(True),
    "model.tied": flag(False),  # The output layer shares the embedding's parameters.
    "model.embedding_dropout_rate": rate(0.0),
    **settings.SAMPLED_INPUTS,
    **settings.adamw(
        learning_rate=4e-3, warmup_steps=50, end_lr_fraction=0.05, weight_decay=0.05
    ),
    **settings.training(total_steps=1200, eval_every=150),
}  # fmt: skip
RULES = (
    *settings.LANGUAGE_RULES,
    Rule(
        lambda c: not c.model.tied or c.model.d_embed == c.model.d_hidden,
        "model.d_embed must equal model.d_hidden if model.tied", {"model.tied": True},
    ),
)  # fmt: skip
PRESETS = {
    "quickstart": {},
    # Averaged weights instead of a decaying learning rate.
    "shakespeare": {
        "data.dataset": "tiny_shakespeare",
        "model.d_embed": 128, "model.d_hidden": 512, "model.num_layers": 2,
        "model.dropout_rate": 0.45,
        "optimizer.learning_rate": 3e-3, "optimizer.decay": "constant",
        "optimizer.weight_decay": 0.2,
        "training.total_steps": 7500, "training.steps_per_execution": 4,
        "training.eval_every": 200, "training.ema_decay": 0.999,
    },
    "shakespeare_large": {
        "base": "shakespeare", "data.batch_size": 128,
        "model.d_hidden": 1024, "model.num_layers": 3, "model.dropout_rate": 0.5,
        "training.total_steps": 4000, "training.steps_per_execution": 50,
        "training.save_every": 500,
    },
    # Words: 16,383 of them in 800,000 words of text, so regularization matters most.
    "brown": {
        "data.text": settings.REQUIRED, "data.tokens": "words", "data.vocab_size": 16_383,
        "data.vocab_source": "all", "data.num_train_words": 800_000, "data.stream": True,
        "data.batch_size": 32, "data.seq_len": 48,
        "model.d_embed": 320, "model.d_hidden": 320, "model.num_layers": 2, "model.tied": True,
        "model.dropout_rate": 0.35, "model.embedding_dropout_rate": 0.2,
        "optimizer.learning_rate": 3e-3, "optimizer.weight_decay": 0.1,
        "training.total_steps": "8 epochs", "training.eval_every": "1 epoch",
        "training.save_every": "1 epoch",
    },
    "debug": {
        "data.max_characters": 60_000, "data.batch_size": 8, "data.seq_len": 16,
        "data.eval_seq_len": 32,
        "model.d_embed": 8, "model.d_hidden": 16, "model.num_layers": 2,
        "model.dropout_rate": 0.1, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
    "debug_stream": {
        "base": "debug", "data.stream": True, "sampled_inputs.rate": 0.5, "exposure_curve": True,
        "model.d_embed": 16, "model.tied": True, "model.embedding_dropout_rate": 0.1,
    },
}  # fmt: skip
get_config = presets.make("experiments.gru_lm", SETTINGS, PRESETS, RULES)
