"""Presets of document classification by document vectors. The loss is in nats per document.

python -m launch.train --config=experiments/document_vectors/config.py:PRESET --workdir=DIR

imdb           film reviews, with the 50,000 unlabelled ones; two CPU cores, 20 minutes: 92.80 %
imdb_labelled  the same without them, 7 minutes: 91.71 %
debug          seconds, on generated sentences; for tests

--config.data.file=TABLE trains any preset on a .csv, .tsv or .jsonl file with the columns
data.text_column and data.label_column. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, number, positive
from experiments.ngram_classifier.config import DOCUMENTS, NAMES

SETTINGS = {
    **DOCUMENTS,
    **NAMES,
    "data.unlabelled": flag(False),  # Read the unlabelled reviews of IMDB, too.
    "data.max_length": count(4096),  # Words; the rest of a longer document is not read.
    "data.batch_size": count(64),
    "model.order": count(3, high=6),  # Words of the longest n-gram.
    "model.min_count": count(3),  # Rarer n-grams are left out.
    "model.smoothing": positive(1.0),  # Of the naive Bayes weights.
    "model.max_ratio": number(10.0, low=1.01),  # m, the likelihood ratio of weight 1.
    "model.d": count(256),
    "model.scale": positive(6.0),  # s, of the cosine.
    "model.negatives": positive(1.0),  # k, the weight of noise against the n-grams.
    "model.ngrams": count(64),  # Drawn of each document in each step.
    "model.noise_ngrams": count(512),  # Drawn for each step, shared by its documents.
    "model.steps": count(6),  # Of the ascent that finds a document's vector.
    "model.rate": positive(0.15),  # Of the ascent.
    "vectors.learning_rate": positive(10.0),  # Of the vectors of n-grams; decays linearly.
    **settings.optimizers("sgd", learning_rate=0.01, decay="linear", weight_decay=0.1),
    **settings.training(
        total_steps="60 epochs", steps_per_execution=100, eval_every="10 epochs",
        save_every="10 epochs", eval_batch_size=32,
    ),
}  # fmt: skip
RULES = (
    Rule(
        lambda c: not c.data.unlabelled
        or (not c.data.file and c.data.dataset == "imdb_reviews"),
        "data.unlabelled=True needs data.dataset=imdb_reviews, which alone has unlabelled "
        "documents",
        {"data.unlabelled": True},
    ),
    Rule(
        lambda c: settings.steps(c.training.total_steps, 1) > 0,
        "training.total_steps must be above 0",
        {"training.total_steps": 0},
    ),
)
PRESETS = {
    "imdb": {"data.unlabelled": True},
    "imdb_labelled": {},
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "data.batch_size": 16,
        "model.order": 2, "model.max_ratio": 2.0, "model.d": 16, "model.ngrams": 16,
        "model.noise_ngrams": 16, "vectors.learning_rate": 1.0, "optimizer.learning_rate": 0.1,
        "training.total_steps": 120, "training.steps_per_execution": 5,
        "training.eval_every": 40, "training.save_every": 30,
    },
}  # fmt: skip
get_config = presets.make("experiments.document_vectors", SETTINGS, PRESETS, RULES)
