"""Presets of the feed-forward language model of 2003. The loss is in nats per token.

python -m launch.train --config=experiments/feedforward_lm/config.py:PRESET --workdir=runs/bengio

quickstart  the source of this Python's standard library, by characters; two CPU cores,
            3 minutes: 1.3717 on test
brown       words of the Brown corpus, the file --config.data.text; 46 minutes with a pause on
            a busy machine: a test perplexity of 295.8
debug       seconds; for tests

README.md says how to make the file of the Brown corpus.
"""

from dlx import presets, settings
from dlx.settings import count, flag, rate

SETTINGS = {
    **settings.language_data("python_source", "tiny_shakespeare"),
    "model.order": count(5, low=2),  # n: the next token is predicted from n - 1.
    "model.d_embed": count(30),
    "model.d_hidden": count(100),
    "model.direct": flag(True),  # Connect the embeddings to the output, too.
    "model.dropout_rate": rate(0.0),
    **settings.SAMPLED_INPUTS,
    **settings.adamw(learning_rate=2e-3, warmup_steps=50, end_lr_fraction=0.05, weight_decay=0.01),
    **settings.training(total_steps=3000, steps_per_execution=50, eval_every=500, save_every=500),
}
PRESETS = {
    "quickstart": {"model.order": 9, "model.d_hidden": 300},
    "brown": {
        "data.text": settings.REQUIRED, "data.tokens": "words", "data.vocab_size": 16_383,
        "data.vocab_source": "all", "data.num_train_words": 800_000,
        "data.batch_size": 16, "data.seq_len": 64,
        "model.d_embed": 60, "model.dropout_rate": 0.2,
        "optimizer.weight_decay": 0.1,
        "training.total_steps": "8 epochs", "training.eval_every": "1 epoch",
        "training.save_every": "1 epoch", "training.eval_batch_size": 16,
    },
    "debug": {
        "data.max_characters": 60_000, "data.batch_size": 8, "data.seq_len": 16,
        "data.eval_seq_len": 32,
        "model.order": 4, "model.d_embed": 8, "model.d_hidden": 16, "model.dropout_rate": 0.1,
        "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
}  # fmt: skip
get_config = presets.make(
    "experiments.feedforward_lm", SETTINGS, PRESETS, settings.LANGUAGE_RULES
)
