"""Presets of n-gram language models. The loss is in nats per token.

python -m launch.train --config=experiments/ngram_lm/config.py:PRESET --workdir=runs/ngram

quickstart   the source of this Python's standard library, by characters
shakespeare  Tiny Shakespeare (TFDS), by characters
brown        the Brown corpus, by words, split as by Bengio et al.; needs --config.data.text=FILE
debug        seconds; for tests

README.md has the measurements, and makes the file.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, one_of, positive

_DATA = settings.language_data("python_source", "tiny_shakespeare")
SETTINGS = {
    **{k: row for k, row in _DATA.items() if k not in ("data.batch_size", "data.seq_len")},
    "model.order": count(5),  # The largest n.
    "model.smoothing": one_of("kneser_ney", "add_k", "back_off"),
    "model.k": positive(0.01)._replace(when=("model.smoothing", ("add_k",))),
    **settings.training(total_steps=0),
}
RULES = (
    *settings.LANGUAGE_RULES,
    Rule(
        lambda c: settings.steps(c.training.total_steps, 1) == 0,
        "training.total_steps must be 0, since counting is the whole training",
        {"training.total_steps": 10},
    ),
)
PRESETS = {
    "quickstart": {"model.order": 10},
    "shakespeare": {"data.dataset": "tiny_shakespeare", "model.order": 6},
    "brown": {
        "data.text": settings.REQUIRED, "data.num_train_words": 800_000,
        "data.tokens": "words", "data.vocab_size": 16_383, "data.vocab_source": "all",
    },
    "debug": {"data.max_characters": 60_000, "data.eval_seq_len": 32, "model.order": 4},
}  # fmt: skip
get_config = presets.make("experiments.ngram_lm", SETTINGS, PRESETS, RULES)
