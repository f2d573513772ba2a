"""A mixture of the language models of several runs."""

from collections.abc import Callable, Sequence

import jax
import numpy as np

from dlx.data import vocabulary
from dlx.errors import UserError
from dlx.experiment import Data, Task, numeric
from dlx.metrics import language_model, mixture
from dlx.runs import workdir as workdirs
from dlx.runs.run import Run
from dlx.training import sharding
from dlx.training.evaluation import make_apply


def evaluate(runs: Sequence[Run], split: str = "test") -> list[dict]:
  """The models and their mixture on a split; the weights are fitted on validation.

  Args:
    runs: of language models with one vocabulary and the same validation and split.
    split: "validation", "test", or a sum such as "validation+test".

  Returns:
    A dict for each run, with its "weight", and one for the mixture: "name", "loss" in nats per
    token, "perplexity", and those of dlx.metrics.language_model.per_unit.

  Raises:
    UserError: a run is not a language model, or the runs have not the same tokens.
  """
  data = [run.experiment.load(run.config, run.assets) for run in runs]
  splits = ["validation", *split.split("+")]
  for run, loaded in zip(runs, data):
    _check(run, loaded, runs[0], data[0], sorted(set(splits)))
  log_p = {name: _log_probabilities(runs, data, name) for name in ("validation", split)}
  weights, examples = mixture.fit(log_p["validation"]), data[0].split(split)
  known = vocabulary.of(runs[0].assets)

  def measured(loss):
    perplexity = float(np.exp(loss))
    return {"loss": loss, "perplexity": perplexity,
            **language_model.per_unit(loss, examples, known)}  # fmt: skip

  found = [
      {"name": str(run.workdir), "weight": float(w), **measured(float(-row.mean()))}
      for run, w, row in zip(runs, weights, log_p[split].T.astype(np.float64))
  ]
  return [*found, {"name": "mixture", **measured(mixture.loss(log_p[split], weights))}]


def _check(run: Run, data: Data, other: Run, expected: Data, splits: Sequence[str]) -> None:
  if not _is_language_model(run, data):
    raise UserError(f"the run in {run.workdir} is not a language model; leave it out")
  if run.assets != other.assets:
    raise UserError(
        f"the runs in {other.workdir} and {run.workdir} have different vocabularies; train them "
        f"on the same text with the same data.tokens and data.vocab_size"
    )
  for split in splits:
    try:
      found, wanted = data.split(split)["targets"], expected.split(split)["targets"]
    except (KeyError, ValueError):
      raise UserError(f"split: expected validation, test or their sum, got {split!r}") from None
    if not np.array_equal(found, wanted):
      raise UserError(
          f"the runs in {other.workdir} and {run.workdir} do not predict the same {split} tokens; "
          f"train them on the same text with the same data.eval_seq_len"
      )
  workdirs.check_data(run.workdir, data, splits)


def _log_probabilities(runs: Sequence[Run], data: Sequence[Data], split: str) -> np.ndarray:
  """log p (N, K) of the N tokens of a split by K runs."""
  found = []
  for run, loaded in zip(runs, data):
    variables = jax.device_get(run.eval_variables)
    chunk = run.config.training.eval_batch_size
    apply = make_apply(variables, sharding.make_mesh(), chunk=chunk, show_progress=True)
    found.append(apply(_log_p(run.task), loaded.split(split)).ravel())
  return np.stack(found, -1)


def _is_language_model(run: Run, data: Data) -> bool:
  """Whether eval_fn gives the loss of every target token."""
  if run.task.eval_fn is None or "targets" not in data.validation:
    return False
  batch = {name: x[:2] for name, x in numeric(data.validation).items()}
  found = jax.eval_shape(run.task.eval_fn, run.eval_variables, batch, jax.random.key(0))
  loss = found.get("loss")
  return isinstance(loss, tuple) and loss[0].shape == batch["targets"].shape


def _log_p(task: Task) -> Callable:
  """`log_p(variables, batch, rng) -> (B, T)`: of every target."""
  return lambda variables, batch, rng: -task.eval_fn(variables, batch, rng)["loss"][0]
