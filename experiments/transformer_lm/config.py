"""Presets of the transformer language model (GPT). The loss is in nats per token.

python -m launch.train --config=experiments/transformer_lm/config.py:PRESET --workdir=runs/gpt

quickstart         the source of this Python's standard library; two CPU cores, 3 minutes
shakespeare_quick  Tiny Shakespeare (TFDS), small batches; two CPU cores, 3 minutes
shakespeare        Tiny Shakespeare (TFDS); two CPU cores, 37 to 45 minutes: 1.4003 nats
shakespeare_large  the same with 13.4 million parameters, on a GPU or TPU; not yet measured
debug              seconds; for tests

--config.data.text=FILE trains any preset on a text file; --config.data.tokens=byte_pairs or words
replaces the characters. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, one_of, rate

SETTINGS = {
    **settings.language_data("python_source", "tiny_shakespeare", seq_len=256),
    "model.d_model": count(192),
    "model.num_layers": count(4),
    "model.num_heads": count(6),
    "model.d_ff": count(768),
    "model.positions": one_of("rotary", "sinusoidal", "learned", "none"),
    "model.gated": flag(False),
    "model.conv_width": count(3),  # Tokens in a causal convolution of each block, 1 for none.
    "model.dropout_rate": rate(0.0),
    "model.dtype": one_of("float32", "bfloat16", "float64"),  # Of the blocks, not the parameters.
    **settings.SAMPLED_INPUTS,
    **settings.optimizers(
        "muon", "adamw", learning_rate=0.02, adam_learning_rate=4e-3, warmup_steps=50,
        momentum=0.95, end_lr_fraction=0.05, weight_decay=0.1,
    ),
    **settings.training(total_steps=140, steps_per_execution=5, eval_every=35, save_every=35),
}  # fmt: skip
RULES = (
    *settings.LANGUAGE_RULES, settings.DTYPE_RULE,
    Rule(
        lambda c: c.model.d_model % (2 * c.model.num_heads) == 0,
        "model.d_model must be a multiple of 2 model.num_heads", {"model.d_model": 13},
    ),
    Rule(
        lambda c: c.model.positions != "learned" or c.data.eval_seq_len <= c.data.seq_len,
        "data.eval_seq_len must not exceed data.seq_len, since positions are learned up to there",
        {"model.positions": "learned", "data.eval_seq_len": 512},
    ),
)  # fmt: skip
PRESETS = {
    "quickstart": {},
    "shakespeare": {
        "data.dataset": "tiny_shakespeare", "model.dropout_rate": 0.1,
        "training.total_steps": 1850, "training.steps_per_execution": 4,
        "training.eval_every": 200, "training.ema_decay": 0.99,
    },
    "shakespeare_quick": {
        "data.dataset": "tiny_shakespeare", "data.batch_size": 8,
        "training.total_steps": 450, "training.eval_every": 150, "training.save_every": 150,
    },
    "shakespeare_large": {
        "base": "shakespeare", "data.batch_size": 64,
        "model.d_model": 384, "model.num_layers": 6, "model.d_ff": 1536, "model.dropout_rate": 0.2,
        "training.total_steps": 5000, "training.steps_per_execution": 50,
        "training.save_every": 500,
    },
    "debug": {
        "data.max_characters": 60_000, "data.batch_size": 8, "data.seq_len": 16,
        "data.eval_seq_len": 16,
        "model.d_model": 16, "model.num_layers": 1, "model.num_heads": 2, "model.d_ff": 32,
        "model.conv_width": 2, "model.dropout_rate": 0.1, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
    "debug_words": {
        "base": "debug", "data.tokens": "words", "data.vocab_size": 300,
        "sampled_inputs.rate": 0.5, "exposure_curve": True,
    },
}  # fmt: skip
get_config = presets.make("experiments.transformer_lm", SETTINGS, PRESETS, RULES)
