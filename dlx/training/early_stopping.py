"""Early stopping: a run ends where validation does not improve any more.

Source: Prechelt, "Early stopping - but when?" (1998), section 2.3.
"""

import ml_collections


def is_over(training: ml_collections.ConfigDict, step: int, best: int | None) -> bool:
  """Whether a run ends at `step`, its last one or `patience` evaluations after the best one.

  Args:
    training: total_steps and eval_every, in steps; patience, or None for no early stopping.
    step: the step of an evaluation.
    best: the step of the evaluation with the best validation metric so far, None before it.
  """
  if step >= training.total_steps:
    return True
  patience = training.get("patience")
  waited = patience is not None and best is not None
  return waited and step - best >= patience * training.eval_every
