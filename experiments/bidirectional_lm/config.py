"""Presets of a bidirectional language model. The loss is in nats per word.

python -m launch.train --config=experiments/bidirectional_lm/config.py:PRESET --workdir=DIR

brown  the Brown corpus, two layers of 256 units in each direction; needs --config.data.file=FILE;
       two CPU cores, 69 minutes with pauses on a busy machine: 5.187
imdb   72,500 film reviews, one layer of 128 units in each direction; two CPU cores, 41 minutes
       with pauses on a busy machine: 4.839
debug, debug_documents  seconds, on generated sentences; for tests

A tagger reads the states of a run: --config=experiments/tagging/config.py:brown_elmo
--config.init_from=DIR. A classifier starts from one of documents:
--config=experiments/recurrent_classification/config.py:imdb_pretrained --config.init_from=DIR.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, one_of, rate, text
from experiments.tagging.config import DATA

DOCUMENTS = ("imdb_reviews", "glue/sst2", "sentences", "table")
SETTINGS = {
    **DATA,
    "data.dataset": one_of("grammar", *DOCUMENTS),
    # Of a table, data.file, which has the splits that a classifier makes of it.
    "data.text_column": text("text")._replace(when=("data.dataset", DOCUMENTS)),
    "data.batch_size": count(64),
    "data.lowercase": flag(True),
    # Of a word that has an embedding; others are one unknown word.
    "data.min_count": count(2)._replace(when=("data.dataset", ("grammar",))),
    "data.vocab_size": count(30_000, low=6)._replace(when=("data.dataset", DOCUMENTS)),
    "model.d": count(256),  # Of the embedding, and of each direction's states.
    "model.num_layers": count(2),
    "model.cell": one_of("lstm", "gru", "rnn"),
    "model.dropout_rate": rate(0.3),
    "model.recurrent_dropout_rate": rate(0.2),
    # Words drawn for each step, from which the softmax of training is estimated; 0: all words.
    "sampled_words": count(0, low=0),
    **settings.adamw(learning_rate=2e-3, warmup_steps=300, b2=0.98, weight_decay=0.01),
    **settings.training(
        total_steps="8 epochs", eval_every="1 epoch", save_every="0.5 epochs", ema_decay=0.998,
    ),
}  # fmt: skip
RETIRED = ("data.label_column",)  # Documents need no labels here.
RULES = (
    Rule(
        lambda c: c.data.dataset in ("grammar", "table") or not c.data.file,
        "data.file is of tagged sentences or, with data.dataset=table, a table of documents",
        {"data.dataset": "sentences", "data.file": "sentences.tsv"},
    ),
    Rule(
        lambda c: c.data.dataset != "table" or c.data.file is not None,
        "data.dataset=table needs data.file, a .csv, .tsv or .jsonl file of documents",
        {"data.dataset": "table"},
    ),
)
PRESETS = {
    "brown": {"data.file": settings.REQUIRED, "sampled_words": 2048},
    "imdb": {
        "data.dataset": "imdb_reviews", "data.num_validation": 2500, "data.max_length": 128,
        "sampled_words": 1024,
        "model.d": 128, "model.num_layers": 1, "model.dropout_rate": 0.1,
        "model.recurrent_dropout_rate": 0.0,
        "training.total_steps": "2 epochs", "training.eval_every": "2 epochs",
        "training.save_every": "0.25 epochs", "training.eval_batch_size": 8,
    },
    "debug": {
        "data.num_validation": 40, "data.max_length": 12, "data.num_lengths": 2,
        "data.batch_size": 16, "model.d": 8, "model.num_layers": 1, "model.dropout_rate": 0.1,
        "optimizer.learning_rate": 3e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 40, "training.steps_per_execution": 5,
        "training.eval_every": 20, "training.save_every": 10, "training.ema_decay": 0.9,
    },
    "debug_documents": {
        "base": "debug", "data.dataset": "sentences", "sampled_words": 8, "model.d": 16,
    },
}  # fmt: skip
get_config = presets.make("experiments.bidirectional_lm", SETTINGS, PRESETS, RULES)
