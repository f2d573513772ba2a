"""Logistic regression on n-grams of documents beside scikit-learn; see benchmarks.linear.

  python -m benchmarks.linear_texts [--dataset=NAME] [--l2=1e-5] [--rounds=3] [--output=FILE]

Both libraries fit the weights of experiments/ngram_classifier to the same sparse matrix, the
naive Bayes features of all n-grams of one to three words, by L-BFGS. dlx keeps the matrix by rows
and by columns; the time contains this sorting and its compilation.
"""

import os

from absl import app, flags, logging
import numpy as np
import scipy.sparse

from benchmarks import linear, timing
from dlx import malloc
from dlx.models import naive_bayes_linear, sparse_linear
from experiments.ngram_classifier import experiment
from experiments.ngram_classifier.config import get_config

_DATASET = flags.DEFINE_string("dataset", "imdb_reviews", "Data set of two classes.")


def problem(config):
  """{"matrix", "scale", "signs"} of the training documents, {"inputs", "labels"} of the others."""
  data = experiment.load(config)
  options, labels = config.model, data.train["labels"]
  tables = naive_bayes_linear.tables(data.train, options.order, len(data.assets["words"]))
  matrix = naive_bayes_linear.document_term_matrix(tables, data.train)
  scale = naive_bayes_linear.log_ratios(matrix, labels, 2, options.smoothing)[0]
  test = naive_bayes_linear.document_term_matrix(tables, data.test)
  signs = np.where(labels == 1, 1, -1).astype(np.float32)
  train = {"matrix": matrix, "scale": scale, "signs": signs}
  return train, {"inputs": scaled(test, scale), "labels": data.test["labels"]}


def scaled(matrix: sparse_linear.SparseBinary, scale: np.ndarray) -> scipy.sparse.csr_matrix:
  """x s, as scipy's sparse rows."""
  at, shape = (matrix.rows, matrix.columns), (matrix.num_rows, matrix.num_columns)
  return scipy.sparse.csr_matrix((scale[matrix.columns], at), shape)


def fit_dlx(train, l2: float):
  """(weights (F,), bias, steps) by dlx."""
  found = sparse_linear.fit(**train, loss="logistic", l2=l2)
  return np.asarray(found.weights), float(found.bias), int(found.steps)


def fit_sklearn(inputs, signs, l2: float, tolerance: float):
  """The same by scikit-learn."""
  model = linear.linear_model.LogisticRegression(
      C=1 / (l2 * len(signs)), tol=tolerance, max_iter=1000
  )
  model.fit(inputs, signs)
  return model.coef_[0], float(model.intercept_[0]), int(model.n_iter_.max())


def judge(found, inputs, signs, test, l2: float) -> dict[str, float]:
  """Test accuracy, and the objective in float64."""
  weights, bias = np.asarray(found[0], np.float64), found[1]
  margins = signs * (inputs @ weights + bias)
  right = (test["inputs"] @ weights + bias > 0) == test["labels"]
  objective = np.logaddexp(0, -margins).mean() + l2 / 2 * (weights**2).sum()
  return {"test_accuracy": right.mean(), "objective": objective, "steps": found[2]}


def main(argv: list[str]) -> None:
  """Measures and prints."""
  malloc.restart()
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  load, l2 = os.getloadavg()[0], linear.L2.value
  train, test = problem(get_config("imdb", {"data.dataset": _DATASET.value}))
  inputs = scaled(train["matrix"], train["scale"])
  fits = {
      "dlx": lambda: fit_dlx(train, l2),
      "scikit-learn": lambda: fit_sklearn(inputs, train["signs"], l2, linear.TOLERANCE.value),
  }
  rows = linear.compare(
      fits, lambda found: judge(found, inputs, train["signs"], test, l2), timing.ROUNDS.value
  )
  shape = " x ".join(f"{n:,}" for n in inputs.shape)
  linear.report(rows, f"logistic regression of {shape} n-grams, l2 = {l2:g}", load)


if __name__ == "__main__":
  flags.set_default(linear.L2, 1e-5)
  app.run(main)
