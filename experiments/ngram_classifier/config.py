"""Presets of document classification by n-grams. The loss is in nats per document.

python -m launch.train --config=experiments/ngram_classifier/config.py:PRESET --workdir=runs/ngrams

imdb              film reviews, logistic regression on naive Bayes features of 1 to 3 words;
                  two CPU cores, 59 seconds: 91.62 % (91.80 % with data.refit)
imdb_svm          the same by a linear support vector machine: 91.45 %
imdb_naive_bayes  the same by naive Bayes alone: 88.03 %
sst2              sentences of reviews
debug             seconds, on generated sentences; for tests

--config.data.file=TABLE trains any preset on a .csv, .tsv or .jsonl file with the columns
data.text_column and data.label_column. README.md has the measurements.
"""

from dlx import presets, settings
from dlx.settings import count, flag, number, one_of, positive
from dlx.training.classifier_settings import FITTED_RULE, REFIT
from experiments.transformer_sentiment.config import DATA

_NAMES = ("file", "text_column", "label_column", "dataset", "num_validation", "lowercase")
NAMES = {"data.drop_names": flag(False)}  # Leave proper names out; see dlx.data.names.
DOCUMENTS = {**{f"data.{name}": DATA[f"data.{name}"] for name in _NAMES}, **REFIT}
FITTED = {"when": ("model.fit", ("logistic", "squared_hinge"))}
SETTINGS = {
    **DOCUMENTS,
    **NAMES,
    "data.max_length": count(4096),  # Words; the rest of a longer document is not read.
    "model.order": count(3, high=6),  # Words of the longest n-gram.
    "model.fit": one_of("logistic", "squared_hinge", "none"),  # The loss; none is naive Bayes.
    "model.features": one_of("naive_bayes", "binary")._replace(**FITTED),  # Weighted, or 1.
    "model.smoothing": positive(1.0),  # Added to the count of each n-gram.
    "model.l2": positive(1e-5)._replace(**FITTED),  # lambda; C of LIBLINEAR is 1 / (lambda N).
    "model.interpolation": number(1.0, high=1.0)._replace(**FITTED),  # beta: w <- (1-b) |w| + b w.
    **settings.training(total_steps=0, eval_batch_size=64),
}
PRESETS = {
    "imdb": {},
    "imdb_svm": {"model.fit": "squared_hinge"},
    "imdb_naive_bayes": {"model.fit": "none"},
    "sst2": {"data.dataset": "glue/sst2", "data.num_validation": 1000},
    "debug": {
        "data.dataset": "sentences", "data.num_validation": 40, "model.order": 2,
        "model.l2": 1e-3,
    },
    "debug_svm": {"base": "debug", "model.fit": "squared_hinge", "model.interpolation": 0.25},
}  # fmt: skip
get_config = presets.make("experiments.ngram_classifier", SETTINGS, PRESETS, (FITTED_RULE,))
