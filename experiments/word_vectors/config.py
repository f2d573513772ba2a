"""Presets of word vectors. The loss is in nats per pair of words.

python -m launch.train --config=experiments/word_vectors/config.py:PRESET --workdir=runs/vectors

reviews  skip-gram of 100 dimensions on 72,500 film reviews (TFDS imdb_reviews); two CPU cores,
         4 minutes after reading the text
text     the same on the file --config.data.text, a document per line
debug, debug_cbow_hs, debug_glove   seconds; for tests

--config.data.similarity=FILE,FILE and --config.data.analogies=FILE are read by every evaluation.
"""

from dlx import presets, settings
from dlx.settings import Rule, count, flag, length, number, one_of, positive, text

_WINDOWS = {"when": ("model.method", ("skip_gram", "cbow"))}
SETTINGS = {
    "model.method": one_of("skip_gram", "cbow", "glove"),
    "init_from": text(),  # A file of vectors in the format of word2vec or GloVe.
    "data.text": text(),  # A text file, which replaces the dataset.
    "data.dataset": one_of(
        "imdb_reviews", "glue/sst2", "sentences", "python_source", "tiny_shakespeare"
    ),
    "data.num_validation": count(2500),  # Documents of imdb_reviews, glue/sst2 and sentences.
    "data.max_characters": count(4_000_000),  # Of python_source.
    "data.lowercase": flag(True),
    "data.punctuation": flag(False),  # Words are what stands between white space.
    "data.min_count": count(5),  # Rarer words are left out.
    "data.max_words": count(None, low=2, optional=True),  # The most frequent ones.
    # A word of a larger share of the text is left out at random; None: keep all.
    "data.subsample": positive(1e-3, optional=True)._replace(**_WINDOWS),
    "data.window": count(5, high=1000),  # The largest distance of two words of a pair.
    "data.seq_len": count(64, low=2)._replace(**_WINDOWS),  # Words that share noise words.
    "data.batch_size": count(32),  # Sequences; entries of the matrix of GloVe.
    "data.similarity": text(),  # Files of pairs with judgements, separated by commas.
    "data.analogies": text(),  # A file of questions of four words.
    "model.output": one_of("noise", "tree")._replace(**_WINDOWS),  # tree: hierarchical softmax.
    "model.negatives": count(5)._replace(**_WINDOWS),  # The weight of noise against a pair.
    "model.noise_words": count(32)._replace(**_WINDOWS),  # Drawn for each sequence.
    "model.largest_count": positive(10.0)._replace(when=("model.method", ("glove",))),
    "model.d": count(100),
    "plot.words": text(),  # Words of the map, separated by spaces; None: groups of frequent ones.
    "optimizer.learning_rate": positive(0.025),
    "optimizer.warmup_steps": length(0, low=0),
    "optimizer.decay": one_of("linear", "cosine", "constant"),
    "optimizer.end_lr_fraction": number(0.004, high=1.0),
    **settings.training(
        total_steps="5 epochs", steps_per_execution=500, eval_every="1 epoch",
        save_every="1 epoch", eval_batch_size=64,
    ),
}  # fmt: skip
RULES = (
    Rule(
        lambda c: c.training.ema_decay is None,
        "training.ema_decay must be None: tables of vectors are changed in place and not averaged",
        {"training.ema_decay": 0.9},
    ),
    Rule(
        lambda c: settings.steps(c.training.total_steps, 1) > 0,
        "training.total_steps must be above 0",
        {"training.total_steps": 0},
    ),
)
_DEBUG = {
    "data.dataset": "python_source", "data.max_characters": 60_000, "data.min_count": 2,
    "data.seq_len": 16, "data.batch_size": 8, "model.d": 8, "model.noise_words": 4,
    "optimizer.learning_rate": 0.1,
    "training.total_steps": 40, "training.steps_per_execution": 5, "training.eval_every": 20,
    "training.save_every": 10,
}  # fmt: skip
PRESETS = {
    "reviews": {},
    "text": {"data.text": settings.REQUIRED},
    "debug": _DEBUG,
    "debug_cbow_hs": {"base": "debug", "model.method": "cbow", "model.output": "tree"},
    "debug_glove": {
        **{k: v for k, v in _DEBUG.items() if k not in ("data.seq_len", "model.noise_words")},
        "model.method": "glove", "data.batch_size": 256,
    },
}  # fmt: skip
get_config = presets.make("experiments.word_vectors", SETTINGS, PRESETS, RULES)
