"""Presets of sequence to sequence. The loss is in nats per token of the target.

python -m launch.train --config=experiments/seq2seq/config.py:PRESET --workdir=runs/seq2seq

pronunciation  words of the CMU dictionary to phonemes; two CPU cores, 56 minutes: 28.2 % word error
translation    a table of sentences, --config.data.pairs=FILE; Multi30k: 57 minutes, 38.4 BLEU
spans          film reviews with hidden spans (T5); 81 minutes with pauses: 4.68 nats per token
debug          seconds, a transformer that spells numbers; for tests
debug_recurrent, debug_convolutional  the same by other networks; debug_spans  hidden spans

Pairs start from a run by --config.init_from=WORKDIR. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.data import pair_settings
from dlx.settings import Rule, count, flag, number, one_of, rate, run

TRANSFORMER = {"when": ("model.architecture", ("transformer",))}
RECURRENT = {"when": ("model.architecture", ("recurrent",))}
CONVOLUTIONAL = {"when": ("model.architecture", ("convolutional",))}
SETTINGS = {
    "init_from": run("experiments.seq2seq:debug_spans", optional=True),  # Whose sizes are taken.
    **pair_settings.SETTINGS,
    "model.architecture": one_of("transformer", "recurrent", "convolutional"),
    "model.d_model": count(256),
    "model.num_layers": count(3),  # Of the decoder, and where it has no other number the encoder.
    "model.num_encoder_layers": count(3)._replace(**TRANSFORMER),
    "model.num_heads": count(4)._replace(**TRANSFORMER),
    "model.d_ff": count(512)._replace(**TRANSFORMER),
    "model.positions": one_of("rotary", "sinusoidal", "learned", "none")._replace(**TRANSFORMER),
    "model.dtype": one_of("float32", "bfloat16", "float64")._replace(**TRANSFORMER),
    "model.cell": one_of("gru", "lstm", "rnn")._replace(**RECURRENT),
    "model.attention": one_of("additive", "multiplicative", "none")._replace(**RECURRENT),
    "model.kernel_size": count(3)._replace(**CONVOLUTIONAL),
    "model.tied": flag(True),  # The output layer has the target's embedding as its kernel.
    "model.dropout_rate": rate(0.1),
    "label_smoothing": rate(0.1),
    **{k: s for k, s in settings.SAMPLED_INPUTS.items() if k.startswith("sampled_inputs.")},
    "decoding.width": count(4),  # Beams.
    "decoding.length_penalty": number(0.6),
    "bleu": flag(False),  # Measure BLEU, with the package sacrebleu.
    **settings.optimizers("adamw", "muon", learning_rate=1e-3, warmup_steps=400, b2=0.98),
    **settings.training(total_steps=8000, eval_every=500, save_every=250, ema_decay=0.998),
}  # fmt: skip
RETIRED = pair_settings.RETIRED
RULES = (*pair_settings.RULES,
    Rule(
        lambda c: c.model.d_model % (2 * c.model.get("num_heads", 1)) == 0,
        "model.d_model must be even, and a multiple of 2 model.num_heads", {"model.d_model": 13},
    ),
    Rule(
        lambda c: c.model.get("dtype") != "float64" or settings.DTYPE_RULE.is_valid(c),
        settings.DTYPE_RULE.message,
    ),
)  # fmt: skip
PRESETS = {
    "pronunciation": {
        "data.dataset": "cmudict", "data.max_length": 24, "data.num_lengths": 6,
        "training.total_steps": 9000, "training.eval_every": 1000,
        "training.save_every": 500, "training.eval_batch_size": 256,
    },
    # As the literature on these sentences: lower case, a small model, strong dropout.
    "translation": {
        "data.source_column": "en", "data.target_column": "de", "data.lowercase": True,
        "data.source_tokens": "byte_pairs", "data.target_tokens": "byte_pairs",
        "data.joint_vocabulary": True, "data.vocab_size": 5000, "data.max_length": 40,
        "data.num_lengths": 5,
        "model.d_model": 128, "model.d_ff": 256, "model.num_layers": 4,
        "model.num_encoder_layers": 4, "model.dropout_rate": 0.3, "bleu": True,
        "optimizer.learning_rate": 3e-3, "optimizer.warmup_steps": 800,
        "training.total_steps": 6500, "training.eval_batch_size": 128,
    },
    "spans": {
        "data.dataset": "spans", "data.source_tokens": "byte_pairs",
        "data.target_tokens": "byte_pairs", "data.joint_vocabulary": True,
        "data.max_length": 128, "data.batch_size": 64, "label_smoothing": 0.0,
        "training.total_steps": 2500,
    },
    "debug": {
        "data.source_tokens": "words", "data.max_length": 8, "data.num_lengths": 1,
        "data.vocab_size": 100, "data.batch_size": 16,
        "model.d_model": 16, "model.num_layers": 1, "model.num_encoder_layers": 1,
        "model.num_heads": 2, "model.d_ff": 32, "decoding.width": 2,
        "optimizer.learning_rate": 1e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
    "debug_recurrent": {
        "base": "debug", "data.num_lengths": 2, "model.architecture": "recurrent",
        "data.source_tokens": "characters", "sampled_inputs.rate": 0.5,
    },
    "debug_convolutional": {
        "base": "debug", "model.architecture": "convolutional", "data.dataset": "reversed",
        "data.source_tokens": "characters", "data.target_tokens": "characters",
        "data.joint_vocabulary": True, "data.max_length": 12, "model.tied": False,
    },
    "debug_spans": {
        "base": "debug", "data.dataset": "spans", "data.documents": "sentences",
        "data.num_validation": 40, "data.joint_vocabulary": True, "data.max_length": 16,
    },
}  # fmt: skip
get_config = presets.make("experiments.seq2seq", SETTINGS, PRESETS, RULES)
