"""Presets of document classification by a recurrent network. The loss is in nats per document.

python -m launch.train --config=experiments/recurrent_classification/config.py:PRESET --workdir=DIR

imdb          film reviews, a bidirectional LSTM with attention pooling; two CPU cores, 14 minutes:
              88.78 %
imdb_vectors  the same, longer reviews and more dropout, from the file of word vectors
              --config.init_vectors; 19 minutes on a busy machine: 90.80 %
imdb_pretrained  the same from a language model of reviews, --config.init_from, a run of
              experiments/bidirectional_lm:imdb; 20 minutes on a busy machine: 90.10 %
sst2          sentences of reviews; two CPU cores, 6 minutes: 84.63 %, mean of nine seeds
debug, debug_pretrained  seconds, on generated sentences; for tests

--config.init_vectors=FILE starts from the word vectors of a file; --config.data.file=TABLE trains
on a .csv, .tsv or .jsonl file with the columns data.text_column and data.label_column.
"""

from dlx import presets, settings
from dlx.models import recurrent_classifier, word_start
from dlx.settings import count, number, one_of, rate
from dlx.training import recurrent_start
from dlx.training.classifier_settings import DISTILLATION, DISTILLATION_RULE, REFIT
from experiments.transformer_sentiment.config import DATA

SETTINGS = {
    **recurrent_start.SETTINGS,  # A language model, of which the words and the first layer start.
    **word_start.SETTINGS,
    **DISTILLATION,
    **DATA,
    **REFIT,
    "data.tokens": one_of("words", "byte_pairs"),
    "data.word_dropout": rate(0.1),  # The fraction of tokens replaced by [UNK] in training.
    "model.cell": one_of("lstm", "gru", "rnn"),
    "model.d_word": count(128),
    "model.d_hidden": count(128),  # In each direction.
    "model.num_layers": count(1),
    "model.pooling": one_of(*recurrent_classifier.POOLINGS),
    "model.d_attention": count(64)._replace(when=("model.pooling", ("attention",))),
    "model.dropout_rate": rate(0.4),
    "model.recurrent_dropout_rate": rate(0.2),
    # Of the perturbation of the embeddings in adversarial training; 0: none.
    "adversarial.epsilon": number(0.0),
    **settings.adamw(learning_rate=2e-3, warmup_steps=200, b2=0.98, weight_decay=0.01),
    **settings.training(
        total_steps="5 epochs", eval_every="1 epoch", save_every="0.5 epochs", ema_decay=0.998,
    ),
}  # fmt: skip
PRESETS = {
    "imdb": {
        "data.vocab_size": 20_000, "data.max_length": 256, "data.num_lengths": 4,
        "data.batch_size": 64,
    },
    "imdb_vectors": {
        "base": "imdb", "init_vectors": settings.REQUIRED, "model.d_word": 100,
        "data.max_length": 400, "data.num_lengths": 8, "data.word_dropout": 0.2,
        "model.dropout_rate": 0.5,
    },
    "imdb_pretrained": {
        "base": "imdb_vectors", "init_vectors": None, "init_from": settings.REQUIRED,
        "model.d_word": 128,
    },
    "sst2": {
        "data.dataset": "glue/sst2", "data.text_column": "sentence", "data.num_validation": 500,
        "data.max_length": 64, "data.num_lengths": 4, "data.batch_size": 64,
        "model.pooling": "max",
    },
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "data.vocab_size": 200,
        "data.max_length": 24, "data.num_lengths": 1, "data.batch_size": 16,
        "data.word_dropout": 0.0, "model.d_word": 16, "model.d_hidden": 16, "model.d_attention": 8,
        "model.dropout_rate": 0.1, "model.recurrent_dropout_rate": 0.0,
        "optimizer.learning_rate": 3e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 80, "training.steps_per_execution": 5,
        "training.eval_every": 40, "training.save_every": 20, "training.ema_decay": 0.9,
    },
    "debug_pretrained": {"base": "debug", "init_from": settings.REQUIRED},
}  # fmt: skip
RULES = (word_start.RULE, recurrent_start.RULE, DISTILLATION_RULE)
get_config = presets.make("experiments.recurrent_classification", SETTINGS, PRESETS, RULES)
