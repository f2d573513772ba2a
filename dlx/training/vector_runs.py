"""Runs of document vectors, which another classifier of the same documents starts from."""

import numpy as np

from dlx.errors import UserError
from dlx.experiment import Arrays
from dlx.models import naive_bayes_linear
from dlx.runs.run import Run
from dlx.training import classifiers, finetuning

SOURCE = "experiments.document_vectors"


def opened(config, classes) -> Run:
  """The run config.init_from.

  Args:
    config: with the settings `data` of documents.
    classes: of the new classifier.

  Raises:
    UserError: it is no run of document vectors, has other classes, or was trained on other
      documents, or on those of validation.
  """
  run = finetuning.open_run(config.init_from, SOURCE)
  classifiers.check_classes(run, classes)
  theirs = run.config.data
  if name := classifiers.differing_documents(config.data, theirs):
    raise UserError(
        f"{config.init_from} was trained on other documents: data.{name} is {theirs.get(name)!r} "
        f"there, {config.data.get(name)!r} here"
    )
  if theirs.refit and not config.data.refit:
    raise UserError(
        f"{config.init_from} was trained on the validation documents too; train one with "
        f"data.refit=False, or set data.refit=True"
    )
  return run


def count(train: Arrays, tables, run: Run) -> tuple[dict, np.ndarray]:
  """(`class_counts` of training documents, `log_size_ratios`), with the tables of the run."""
  matrix = naive_bayes_linear.document_term_matrix(tables, train)
  counts = naive_bayes_linear.class_counts(matrix, train["labels"], len(run.assets["classes"]))
  return counts, naive_bayes_linear.log_size_ratios(counts, run.config.model.smoothing)
