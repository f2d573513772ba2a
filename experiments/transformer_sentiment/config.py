"""Presets of document classification by a transformer. The loss is in nats per document.

python -m launch.train --config=experiments/transformer_sentiment/config.py:PRESET --workdir=DIR

imdb                  film reviews, from scratch; two CPU cores, 54 minutes: 87.91 %
sst2                  sentences of reviews, from scratch; 81.2 % of the validation sentences
imdb_finetune_minilm  from a published encoder, the folder --config.init_from; 87 minutes: 92.92 %
sst2_finetune_minilm  the same for sentences; 27 minutes: 89.22 %
imdb_large            six wide blocks; GPU or TPU, not yet measured
debug                 seconds, on generated sentences; for tests
debug_finetune        debug from a run of masked_lm:debug

--config.data.file=TABLE trains any preset on a .csv, .tsv or .jsonl file with the columns
data.text_column and data.label_column. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.models import trainable
from dlx.settings import Rule, count, flag, matching, one_of, positive, rate, run, text
from dlx.training.classifier_settings import DISTILLATION, DISTILLATION_RULE

# Of a new encoder; init_from brings its own.
ENCODER = {
    "encoder.d_model": count(256),
    "encoder.num_layers": count(2),
    "encoder.num_heads": count(4),
    "encoder.d_ff": count(512),
    "encoder.positions": one_of("sinusoidal", "learned", "rotary", "none"),
    "encoder.norm_first": flag(True),
    "encoder.gated": flag(False),
    "encoder.conv_width": count(1),  # Tokens in a convolution of each block, 1 for none.
}
DATA = {
    "data.file": text(),  # A table, which replaces the dataset.
    "data.text_column": text("text"),
    "data.label_column": text("label"),
    "data.dataset": one_of("imdb_reviews", "glue/sst2", "sentences"),
    "data.num_validation": count(2500),  # Documents taken from the training split.
    "data.vocab_size": count(16_000, low=6),  # Of a new encoder's tokenizer, as lowercase is.
    "data.lowercase": flag(True),
    "data.max_length": count(512, low=4),  # Tokens; the first quarter and the end are kept.
    "data.num_lengths": count(8),  # Lengths that batches are truncated to.
    "data.batch_size": count(32),
}
RULES = (
    Rule(
        lambda c: c.encoder.d_model % (2 * c.encoder.num_heads) == 0,
        "encoder.d_model must be a multiple of 2 encoder.num_heads", {"encoder.d_model": 13},
    ),
    settings.DTYPE_RULE,
)  # fmt: skip
CLASSIFIER_RULES = (*RULES, DISTILLATION_RULE, Rule(
    lambda c: c.trainable != "adapters" or c.model.adapter_size > 0,
    "trainable is adapters; set model.adapter_size, for example to 64", {"trainable": "adapters"},
), Rule(
    lambda c: c.trainable != "prefixes" or c.model.prefix_length > 0,
    "trainable is prefixes; set model.prefix_length, for example to 16", {"trainable": "prefixes"},
))  # fmt: skip
SETTINGS = {
    "init_from": run("experiments.masked_lm:debug", optional=True),  # Or a published encoder.
    "trainable": matching(
        "all", trainable.PATTERN,
        "all, head, adapters, prefixes, bias or last_N with a number N", "last_0",
    ),
    **DISTILLATION,
    **DATA,
    "data.word_dropout": rate(0.2),  # The fraction of tokens replaced by [UNK] in training.
    **ENCODER,
    "model.dropout_rate": rate(0.2),
    "model.dtype": one_of("float32", "bfloat16", "float64"),  # Of the blocks, not the parameters.
    "model.adapter_size": count(0, low=0),  # Features of adapters in each block, 0 for none.
    "model.prefix_length": count(0, low=0),  # Learned keys and values in each block, 0 for none.
    "model.pooling": one_of("mean", "max", "first"),
    "label_smoothing": rate(0.1),
    "layer_decay": positive(1.0, high=1.0),  # The learning rate of a block relative to the next.
    **settings.adamw(
        learning_rate=5e-4, warmup_steps=300, b2=0.98, weight_decay=0.1,
    ),
    **settings.training(
        total_steps=2800, eval_every=700, save_every=350, ema_decay=0.998,
    ),
}  # fmt: skip
_SST2 = {
    "data.dataset": "glue/sst2", "data.text_column": "sentence", "data.num_validation": 500,
    "data.max_length": 64, "data.num_lengths": 4, "data.batch_size": 64,
}  # fmt: skip
# The recipe of BERT's authors, with lower learning rates in lower blocks.
_FINETUNE = {
    "init_from": settings.REQUIRED, "data.word_dropout": 0.0, "model.dropout_rate": 0.1,
    "optimizer.learning_rate": 1e-4, "optimizer.decay": "linear",
    "optimizer.b2": 0.999, "optimizer.weight_decay": 0.01,
}  # fmt: skip
PRESETS = {
    "imdb": {},
    # Few documents for so many words: small embeddings, and a convolution for positions.
    "sst2": {
        **_SST2, "data.word_dropout": 0.1,
        "encoder.d_model": 128, "encoder.d_ff": 256, "encoder.positions": "none",
        "encoder.conv_width": 3, "model.dropout_rate": 0.3, "model.pooling": "max",
        "optimizer.learning_rate": 2e-3,
        "training.total_steps": 3900, "training.eval_every": 975, "training.save_every": 390,
    },
    "imdb_finetune_minilm": {
        **_FINETUNE, "layer_decay": 0.9, "data.max_length": 256, "data.num_lengths": 4,
        "training.total_steps": 1400, "training.eval_every": 350, "training.save_every": 50,
        "training.ema_decay": None,
    },
    "sst2_finetune_minilm": {
        **_FINETUNE, **_SST2, "data.num_validation": 1000,
        "model.pooling": "max", "label_smoothing": 0.0,
        "training.total_steps": 1800, "training.eval_every": 225, "training.save_every": 225,
    },
    "imdb_large": {
        "data.batch_size": 64, "data.vocab_size": 30_000,
        "encoder.d_model": 768, "encoder.num_layers": 6, "encoder.num_heads": 12,
        "encoder.d_ff": 3072, "model.dropout_rate": 0.1, "model.dtype": "bfloat16",
        "optimizer.learning_rate": 5e-5, "layer_decay": 0.9,
        "training.total_steps": 1755, "training.steps_per_execution": 100,
        "training.eval_every": 351, "training.save_every": 351,
    },
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "data.vocab_size": 200,
        "data.max_length": 24, "data.num_lengths": 2, "data.batch_size": 16,
        "data.word_dropout": 0.1,
        "encoder.d_model": 16, "encoder.num_layers": 1, "encoder.d_ff": 32,
        "encoder.num_heads": 2,
        "model.dropout_rate": 0.1,
        "optimizer.learning_rate": 1e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 120, "training.steps_per_execution": 5,
        "training.eval_every": 40, "training.save_every": 30, "training.ema_decay": 0.9,
    },
    "debug_finetune": {"base": "debug", "init_from": settings.REQUIRED, "layer_decay": 0.9},
}  # fmt: skip
get_config = presets.make(
    "experiments.transformer_sentiment", SETTINGS, PRESETS, CLASSIFIER_RULES
)
