"""Settings of document classifiers: runs as teachers and members of an ensemble, the last training.

A classifier that is trained with data.refit knows the validation documents, so that they cannot
choose its checkpoint: it keeps the last one, and a run without data.refit chooses its steps before.
"""

from dlx.settings import REQUIRED, Rule, Setting, flag, number, positive, steps


def runs(*examples: str, optional: bool = False) -> Setting:
  """The folders of one or several runs, separated by commas.

  Args:
    *examples: such runs, "experiments.ngram_classifier:debug", which tests train.
    optional: None is allowed, and the default.
  """
  default = None if optional else REQUIRED
  is_valid = lambda v: all(name.strip() for name in v.split(","))  # noqa: E731
  hint = "folders of runs, separated by commas"
  return Setting(default, str, is_valid, hint, REQUIRED, optional, example=",".join(examples))


REFIT = {
    "data.refit": flag(False),  # Train on the validation documents, too, once settings are chosen.
}


def best(config, metric: str) -> str | None:
  """`best` of a Task with the settings REFIT: the metric, or None in a last training."""
  return None if config.data.get("refit") else metric


FITTED_RULE = Rule(
    lambda c: steps(c.training.total_steps, 1) == 0,
    "training.total_steps must be 0, since the weights are fitted to all documents at once",
    {"training.total_steps": 10},
)
DISTILLATION = {
    "teacher": runs("experiments.ngram_classifier:debug", optional=True),
    "distillation.weight": number(0.5, high=1.0),  # Of the teacher; the labels have the rest.
    "distillation.temperature": positive(2.0),
    "data.unlabelled": flag(False),  # Train on the unlabelled reviews of IMDB, too.
}
DISTILLATION_RULE = Rule(
    lambda c: not c.data.unlabelled
    or (c.teacher and not c.data.file and c.data.dataset == "imdb_reviews"),
    "data.unlabelled=True needs a teacher, and data.dataset=imdb_reviews, which alone has "
    "unlabelled documents",
    {"data.unlabelled": True},
)
