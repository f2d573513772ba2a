"""Presets of taggers. The loss is in nats per word.

python -m launch.train --config=experiments/tagging/config.py:PRESET --workdir=runs/tagging

brown                the Brown corpus, a bidirectional LSTM; needs --config.data.file=FILE
brown_elmo           the same, with the states of a bidirectional language model as features; needs
                     --config.init_from=WORKDIR, a run of experiments/bidirectional_lm
brown_hmm            the same, a hidden Markov model that counts; a minute or two
brown_most_frequent  the same, the most frequent tag of each word; under a minute
conll                entities or other tags of a file in CoNLL's manner, with a conditional
                     random field; needs --config.data.file=FILE
debug                seconds, on generated sentences; for tests
debug_hmm            the same
debug_elmo           the same

README.md has the measurements, and makes the file.
"""

from dlx import presets, settings
from dlx.models import tagger, word_start
from dlx.settings import Rule, Setting, count, flag, one_of, rate, run, text


def _only(rows: dict[str, Setting], *kinds: str) -> dict[str, Setting]:
  return {key: row._replace(when=("model.kind", kinds)) for key, row in rows.items()}


_COLUMN = Setting(1, int, bool, "1 for the first column, -1 for the last", 0)
DATA = {
    "data.file": text(),  # Of tagged sentences; replaces the dataset.
    "data.validation_file": text(),  # Without it, num_validation sentences of data.file.
    "data.test_file": text(),  # Without it, a tenth of data.file.
    "data.word_column": _COLUMN,
    "data.tag_column": _COLUMN._replace(default=-1),
    "data.dataset": one_of("grammar"),
    "data.num_validation": count(2000),  # Sentences.
    "data.max_length": count(64, low=2),  # Words; longer sentences are cut, no word is left out.
    "data.num_lengths": count(8),  # Lengths that batches are truncated to.
}
SETTINGS = {
    **DATA,
    "model.kind": one_of("network", "hmm", "most_frequent"),
    **_only({
        # A language model, whose states are features too.
        "init_from": run("experiments.bidirectional_lm:debug", optional=True),
        **word_start.SETTINGS,
    }, "network"),
    **_only({
        "data.batch_size": count(64),
        "data.lowercase": flag(True),  # Of words, not of their characters.
        "data.min_count": count(2),  # Of a word that has an embedding.
        "data.max_characters": count(16),  # Of a word; the first quarter and the end are kept.
        "data.word_dropout": rate(0.05),  # The fraction of words replaced by the unknown one.
        "model.cell": one_of("lstm", "gru", "rnn"),
        "model.d_word": count(128),
        "model.characters": one_of(*tagger.CHARACTERS),
        "model.d_spelling": count(64, low=2),
        "model.d_hidden": count(200),  # In each direction.
        "model.num_layers": count(1),
        "model.output": one_of("softmax", "crf"),
        "model.dropout_rate": rate(0.4),
        "model.recurrent_dropout_rate": rate(0.2),
        **settings.adamw(learning_rate=3e-3, warmup_steps=300, b2=0.98, weight_decay=0.01),
    }, "network"),
    # Letters of the suffixes that give the tags of an unknown word.
    **_only({"model.suffix_length": count(5, low=0)}, "hmm", "most_frequent"),
    **settings.training(
        total_steps="12 epochs", eval_every="1 epoch", save_every="1 epoch", ema_decay=0.998,
    ),
}  # fmt: skip
RULES = (
    word_start.RULE,
    Rule(
        lambda c: (c.model.kind == "network") == (settings.steps(c.training.total_steps, 1) > 0),
        "training.total_steps must be 0 where model.kind counts, and above 0 for network",
        {"training.total_steps": 0},
    ),
    Rule(
        lambda c: c.model.kind != "network" or c.model.d_spelling % 2 == 0,
        "model.d_spelling must be even", {"model.d_spelling": 3},
    ),
)  # fmt: skip
_COUNTED = {"training.total_steps": 0, "training.ema_decay": None}
PRESETS = {
    "brown": {"data.file": settings.REQUIRED, "training.total_steps": "8 epochs"},
    "brown_elmo": {"base": "brown", "init_from": settings.REQUIRED},
    "brown_hmm": {"data.file": settings.REQUIRED, "model.kind": "hmm", **_COUNTED},
    "brown_most_frequent": {
        "data.file": settings.REQUIRED, "model.kind": "most_frequent", "model.suffix_length": 0,
        **_COUNTED,
    },
    "conll": {
        "data.file": settings.REQUIRED, "data.batch_size": 32, "model.output": "crf",
        "model.dropout_rate": 0.5, "optimizer.warmup_steps": 100,
        "training.total_steps": "20 epochs",
    },
    "debug": {
        "data.num_validation": 40, "data.max_length": 12, "data.num_lengths": 1,
        "data.batch_size": 16, "data.max_characters": 8, "model.d_word": 8, "model.d_spelling": 8,
        "model.d_hidden": 8, "model.output": "crf", "model.dropout_rate": 0.1,
        "optimizer.learning_rate": 3e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
    "debug_elmo": {
        "base": "debug", "data.num_lengths": 2, "init_from": settings.REQUIRED,
        "model.characters": "none",
    },
    "debug_hmm": {
        "data.num_validation": 40, "data.max_length": 12, "data.num_lengths": 2,
        "model.kind": "hmm", **_COUNTED,
    },
}  # fmt: skip
get_config = presets.make("experiments.tagging", SETTINGS, PRESETS, RULES)
