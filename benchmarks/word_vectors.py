"""Skip-gram in dlx and gensim, on the same text and machine: speed, similarity and analogies.

  python -m benchmarks.word_vectors --text=reviews.txt --rounds=3 [--output=vectors.json] \
      [--similarity=wordsim353.tsv,simlex999.txt] [--analogies=questions-words.txt]

The text has a document per line; --text=imdb_reviews are the film reviews of the preset. Both have
the settings of experiments/word_vectors:reviews (100 dimensions, windows of 5, five noise words,
subsampling at 1e-3, five epochs), the same words and as many threads as cores; a round trains
each from its own seed. Times are of training without reading the text, and include what dlx
compiles. gensim reads its text as lists of words in memory.
"""

import json
import os
import pathlib
import sys
import tempfile
import time

from absl import app, flags, logging
import numpy as np
from rich.console import Console

from benchmarks import timing
import dlx
from dlx import doctor, malloc
from dlx.data import word_counts, word_sources
from dlx.metrics import word_similarity
from dlx.runs import metric_log
from experiments.word_vectors import config as configs

try:
  import gensim
except ImportError:
  gensim = None

TEXT = flags.DEFINE_string("text", None, "A file with a document per line, or imdb_reviews.")
SIMILARITY = flags.DEFINE_string("similarity", None, "Files of judgements, separated by commas.")
ANALOGIES = flags.DEFINE_string("analogies", None, "A file of questions of four words.")


def make_config(seed: int):
  """The preset's config on --text."""
  changes = {"seed": seed, "training.eval_every": "5 epochs", "training.save_every": "5 epochs"}
  if TEXT.value != "imdb_reviews":
    changes["data.text"] = TEXT.value
  return configs.get_config("reviews", changes)


def train_dlx(config) -> tuple[word_similarity.Vectors, float]:
  """(vectors, seconds of the loop's calls and of compiling them)."""
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder, "run")
    dlx.train(config, workdir)
    run = dlx.load_run(workdir, checkpoint="latest")
    seconds = sum(line["seconds"] for line in metric_log.read(workdir / metric_log.TIMINGS))
    return word_similarity.Vectors(*run.task.vectors(run.eval_variables)), seconds


def train_gensim(config, documents) -> tuple[word_similarity.Vectors, float]:
  """(vectors, seconds of training)."""
  data, model = config.data, config.model
  learner = gensim.models.Word2Vec(
      sg=1, vector_size=model.d, window=data.window, negative=model.negatives, hs=0,
      min_count=data.min_count, sample=data.subsample, alpha=config.optimizer.learning_rate,
      min_alpha=config.optimizer.learning_rate * config.optimizer.end_lr_fraction,
      epochs=5, workers=doctor.cores(), seed=config.seed,
  )  # fmt: skip
  learner.build_vocab(documents)
  start = time.perf_counter()
  learner.train(documents, total_examples=learner.corpus_count, epochs=learner.epochs)
  seconds = time.perf_counter() - start
  return word_similarity.Vectors(learner.wv.index_to_key, learner.wv.vectors), seconds


def _run(rounds: int) -> dict:
  options = make_config(0).data
  documents = [
      word_counts.split(text, lowercase=options.lowercase, punctuation=options.punctuation)
      for text in word_sources.texts(options)["train"]
  ]
  words, rows = sum(map(len, documents)), []
  for seed in range(rounds):
    config = make_config(seed)
    calls = {"dlx": lambda: train_dlx(config)}  # noqa: B023
    if gensim is not None:
      calls["gensim"] = lambda: train_gensim(config, documents)  # noqa: B023
    for library, call in calls.items():
      vectors, seconds = call()
      measured = word_similarity.measure(vectors, SIMILARITY.value, ANALOGIES.value)
      rows.append({
          "library": library, "seed": seed, "seconds": seconds,
          "words_per_second": 5 * words / seconds,
          **{name: value for name, value in measured.items() if not name.endswith(" known")},
      })  # fmt: skip
  return {"words": words, "rows": rows}


def _show(console: Console, result: dict) -> None:
  rows = result["rows"]
  columns = {"seed": "d", "seconds": ",.0f", "words_per_second": ",.0f"}
  columns |= {name: ".4f" for name in rows[0] if name not in (*columns, "library")}
  console.print(timing.table(f"{result['words']:,} words, 5 epochs", rows, columns))
  for library in dict.fromkeys(row["library"] for row in rows):
    of = [row for row in rows if row["library"] == library]
    means = {name: np.mean([row[name] for row in of]) for name in columns if name != "seed"}
    console.print(f"{library}: " + ", ".join(f"{k} {v:,.4g}" for k, v in means.items()))


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  malloc.restart()  # Both libraries are timed with these settings.
  if len(argv) > 1 or not TEXT.value:
    raise app.UsageError(f"unknown argument {argv[1]}" if len(argv) > 1 else "--text is missing")
  if gensim is None:
    print('gensim is not installed, so it has no rows; pip install -e ".[bench]"', file=sys.stderr)
  logging.set_verbosity(logging.WARNING)
  machine = doctor.environment()
  if gensim is not None:
    machine["versions"]["gensim"] = gensim.__version__
  result = {"machine": machine, "load_before": os.getloadavg()[0], **_run(timing.ROUNDS.value)}
  console = Console(width=120)  # Also when the output is a file.
  console.print(f"{machine['cores']} cores, load {result['load_before']:.1f} before the start")
  _show(console, result)
  if timing.OUTPUT.value:
    pathlib.Path(timing.OUTPUT.value).write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
  app.run(main)
