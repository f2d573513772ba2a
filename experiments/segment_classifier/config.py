"""Presets of document classification by the vectors of segments. The loss is in nats per document.

python -m launch.train --config=experiments/segment_classifier/config.py:PRESET \
    --config.init_from=runs/vectors --workdir=runs/segments

imdb   film reviews, by the vectors of a run of experiments/document_vectors:imdb; two CPU cores,
       4 minutes: 92.29 %
debug  seconds, on generated sentences; for tests

README.md has the measurements.
"""

from dlx import presets, settings
from dlx.models import recurrent_classifier
from dlx.settings import count, one_of, rate
from experiments.ngram_classifier.config import DOCUMENTS

SETTINGS = {
    "init_from": settings.run("experiments.document_vectors:debug"),  # Whose vectors are read.
    **{key: row for key, row in DOCUMENTS.items() if key != "data.lowercase"},
    "data.max_length": count(1024),  # Words; the rest of a longer document is not read.
    "data.num_lengths": count(8),  # Batches are cut to one of as many lengths.
    "data.batch_size": count(64),
    "model.segment_words": count(16),  # Of a segment.
    "model.d_segment": count(128),
    "model.cell": one_of("lstm", "gru", "rnn"),
    "model.d_hidden": count(64),  # In each direction.
    "model.num_layers": count(1),
    "model.pooling": one_of(*recurrent_classifier.POOLINGS),
    "model.d_attention": count(32)._replace(when=("model.pooling", ("attention",))),
    "model.segment_dropout_rate": rate(0.2),
    "model.dropout_rate": rate(0.4),
    "model.recurrent_dropout_rate": rate(0.0),
    **settings.adamw(learning_rate=1e-3, warmup_steps=200, weight_decay=0.01),
    **settings.training(
        total_steps="3 epochs", eval_every="0.5 epochs", save_every="0.5 epochs",
    ),
}  # fmt: skip
PRESETS = {
    "imdb": {},
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "data.max_length": 24,
        "data.num_lengths": 1, "data.batch_size": 16, "model.segment_words": 4,
        "model.d_segment": 16, "model.d_hidden": 16, "model.d_attention": 8,
        "model.segment_dropout_rate": 0.0, "model.dropout_rate": 0.0,
        "optimizer.learning_rate": 1e-2, "optimizer.warmup_steps": 5,
        "training.total_steps": 80, "training.steps_per_execution": 5,
        "training.eval_every": 40, "training.save_every": 20,
    },
}  # fmt: skip
get_config = presets.make("experiments.segment_classifier", SETTINGS, PRESETS)
