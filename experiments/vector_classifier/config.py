"""Presets of document classification by vectors. The loss is in nats per document.

python -m launch.train --config=experiments/vector_classifier/config.py:PRESET \
    --config.init_from=runs/vectors --workdir=runs/classifier

imdb   film reviews, by the vectors of a run of experiments/document_vectors:imdb; two CPU cores,
       4 minutes: 92.84 %
debug  seconds, on generated sentences; for tests

README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import count, positive
from dlx.training.classifier_settings import FITTED_RULE
from experiments.ngram_classifier.config import DOCUMENTS

SETTINGS = {
    "init_from": settings.run("experiments.document_vectors:debug"),  # Whose vectors are read.
    **{key: row for key, row in DOCUMENTS.items() if key != "data.lowercase"},
    "model.parts": count(3, high=64),  # P; 1: no parts, the document alone.
    "model.l2": positive(0.1),  # lambda of lambda / 2 |W|^2.
    **settings.training(total_steps=0, eval_batch_size=32),
}
PRESETS = {
    "imdb": {},
    "debug": {"data.dataset": "sentences", "data.num_validation": 40, "model.parts": 2},
}
get_config = presets.make("experiments.vector_classifier", SETTINGS, PRESETS, (FITTED_RULE,))
