"""Classification by prompts: the label that a language model finds most probable as an answer.

With c the prompt and a = a_1 ... a_m the tokens of an answer,

  log p(a | c) = sum_i log p(a_i | c, a_1 ... a_{i-1})

  score   of an answer
  sum     log p(a | c)
  mean    log p(a | c) / m, for answers of different lengths
  ratio   log p(a | c) - log p(a | cue), for answers that are frequent after any text

Source: Brown et al., "Language models are few-shot learners" (2020), section 2.4.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from dlx.data import prompts
from dlx.data import vocabulary as vocabularies
from dlx.errors import UserError
from dlx.experiment import Task
from dlx.runs.run import Run
from dlx.training import sharding
from dlx.training.evaluation import make_apply

SCORES = ("sum", "mean", "ratio")
_SHORTEST = 32  # Tokens; lengths are this times a power of two, so that few are compiled.


class Answers(NamedTuple):
  """The answers to N prompts.

  Attributes:
    predictions: (N,), indices into the labels.
    scores: (N, K) of K labels.
    shortened: the number of prompts from which examples were left out.
  """

  predictions: np.ndarray
  scores: np.ndarray
  shortened: int


def answer(
    run: Run,
    template: prompts.Template,
    texts: Sequence[str],
    examples: Sequence[list[tuple[str, str]]],
    labels: Sequence[str],
    *,
    score: str = "sum",
) -> Answers:
  """Labels texts by the answer of the highest score.

  Args:
    run: of a language model.
    template: see dlx.data.prompts.
    texts: N texts.
    examples: for each text, those before it in the prompt. The first ones are left out where the
      prompt is longer than the context.
    labels: K possible answers.
    score: one of SCORES.

  Raises:
    UserError: the run is not a language model, a label has an unknown word or character, or a
      text (its row is named) has an unknown character or does not fit into the context.
  """
  if not hasattr(run.task.sample, "context"):
    raise UserError(f"{run.config.experiment} is not a language model; name a run of one")
  vocabulary = vocabularies.of(run.assets)
  answers = [vocabulary.encode_prompt(template.answer(label)) for label in labels]
  context = run.task.sample.context
  limit = None if context is None else context + 1 - max(map(len, answers))
  encoded = []
  for row, (text, shown) in enumerate(zip(texts, examples, strict=True), 1):
    try:
      encoded.append(prompts.encode(vocabulary, template, shown, text, limit))
    except UserError as e:
      raise UserError(f"the prompt of row {row}: {e}") from None
  ids = [ids for ids, _ in encoded]
  options = {"tokens": run.config.training.eval_batch_size * run.config.data.eval_seq_len}
  found = log_probabilities(run.task, run.eval_variables, ids, answers, context, **options)
  if score == "mean":
    found = found / [len(a) for a in answers]
  if score == "ratio":
    cue, _ = vocabulary.encode(template.cue)
    cue = cue if len(cue) else vocabulary.encode_prompt("")
    found = found - log_probabilities(run.task, run.eval_variables, [cue], answers, context)
  return Answers(found.argmax(-1), found, sum(left_out > 0 for _, left_out in encoded))


def log_probabilities(
    task: Task,
    variables: dict,
    prompts: Sequence[np.ndarray],
    answers: Sequence[np.ndarray],
    context: int | None = None,
    *,
    tokens: int = 2**14,
) -> np.ndarray:
  """log p(answer | prompt) (N, K), float64: K answers after each of N prompts.

  Args:
    task: of a language model, whose `eval_fn` gives the loss of every target; a token's loss must
      not depend on later ones.
    variables: of the model.
    prompts, answers: ids of each, at least one.
    context: the maximum number of inputs, None for any.
    tokens: the number of tokens that are computed together.
  """
  pairs = [(p, a) for p in prompts for a in answers]
  lengths = np.array([len(p) + len(a) - 1 for p, a in pairs])
  powers = np.ceil(np.log2(np.maximum(lengths / _SHORTEST, 1))).astype(int)
  widths = np.minimum(_SHORTEST * 2**powers, context or np.inf).astype(int)
  apply, found = make_apply(variables, sharding.make_mesh()), np.zeros(len(pairs))

  def log_p(variables, batch, rng):
    losses, _ = task.eval_fn(variables, batch, rng)["loss"]
    return -jnp.where(batch["counted"], losses, 0).sum(-1)

  for width in np.unique(widths):
    at = np.flatnonzero(widths == width)
    chunk = max(1, min(len(at), tokens // width))
    found[at] = apply(log_p, _padded([pairs[i] for i in at], width), chunk=chunk)
  return found.reshape(len(prompts), len(answers))


def _padded(pairs, width) -> dict[str, np.ndarray]:
  """Inputs and targets (M, width), and which targets are tokens of the answer."""
  ids, counted = np.zeros((len(pairs), width + 1), np.int32), np.zeros((len(pairs), width), bool)
  for row, (prompt, answer) in enumerate(pairs):
    end = len(prompt) + len(answer)
    ids[row, :end] = np.concatenate([prompt, answer])
    counted[row, len(prompt) - 1 : end - 1] = True
  return {"inputs": ids[:, :-1], "targets": ids[:, 1:], "counted": counted}
