"""Finished runs of document classifiers: members of an ensemble, teachers of another classifier."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

import dlx
from dlx import presets
from dlx.errors import UserError
from dlx.experiment import Task
from dlx.runs import run as runs_lib
from dlx.runs import workdir as workdirs
from dlx.runs.run import Run
from dlx.training import sharding
from dlx.training.evaluation import make_apply


def opened(folders: str, classes: Sequence[str] | None = None) -> list[Run]:
  """The runs of a setting of dlx.training.classifier_settings.runs.

  Args:
    folders: their names, separated by commas.
    classes: the names that all of them have to have; None: those of the first.

  Raises:
    UserError: a folder is not a run or named twice, its run is not a classifier of documents, or
      it has other classes.
  """
  names = [name.strip() for name in folders.split(",")]
  if again := next((name for i, name in enumerate(names) if name in names[:i]), None):
    raise UserError(f"{again} is named twice; name each run once")
  found = [dlx.load_run(name) for name in names]
  for run in found:
    if run.task.outputs_fn is None or run.task.read is None or "classes" not in run.assets:
      raise UserError(
          f"{run.workdir} is a run of {run.config.experiment}, which does not classify documents"
      )
    classes = run.assets["classes"] if classes is None else classes
    check_classes(run, classes)
  return found


def check_classes(run: Run, classes: Sequence[str]) -> None:
  """Raises UserError unless the run has these classes."""
  if list(run.assets["classes"]) != list(classes):
    raise UserError(
        f"the run in {run.workdir} has the classes {', '.join(run.assets['classes'])}; expected "
        f"{', '.join(classes)}"
    )


def differing_documents(data: Mapping, other: Mapping) -> str | None:
  """The first of the settings config.data that give two runs other documents or splits, if any."""
  table = ("file", "text_column", "label_column", "num_validation")
  names = table if other.get("file") else ("file", "dataset", "num_validation")
  return next((name for name in names if data.get(name) != other.get(name)), None)


def log_probabilities(run: Run, texts: Sequence[str], *, temperature: float = 1.0) -> np.ndarray:
  """log softmax(logits / temperature), (N, K), of documents by a run's classifier."""
  examples, order = run.task.read(texts), by_length(texts)
  variables, outputs_fn = jax.device_get(run.eval_variables), run.task.outputs_fn
  chunk = run.config.training.eval_batch_size
  apply = make_apply(variables, sharding.make_mesh(), chunk=chunk, show_progress=True)

  def of_batch(variables, batch, rng):
    return jax.nn.log_softmax(outputs_fn(variables, batch) / temperature)

  found = apply(of_batch, {name: array[order] for name, array in examples.items()})
  return found[np.argsort(order)]


def by_length(texts: Sequence[str]) -> np.ndarray:
  """The order of documents, the shortest first, in which chunks have similar lengths."""
  return np.argsort([len(text) for text in texts], kind="stable")


class Member(NamedTuple):
  """A classifier without its variables; see `make_members`.

  Attributes:
    config: of its run.
    task: its functions.
  """

  config: ml_collections.ConfigDict
  task: Task


def make_assets(members: Sequence[Run]) -> dict[str, Any]:
  """Assets from which `make_members` and `empty_variables` restore runs without their folders."""
  assets = {"classes": list(members[0].assets["classes"]), "members": []}
  for i, run in enumerate(members):
    describe = lambda x: {"shape": np.shape(x), "dtype": str(x.dtype)}  # noqa: E731
    assets["members"].append({
        "config": run.config.to_dict(),
        "steps_per_epoch": workdirs.read_data(run.workdir).get("steps_per_epoch"),
        "variables": jax.tree.map(describe, run.eval_variables),
    })
    assets |= {f"{i}.{name}": value for name, value in run.assets.items()}
  return assets


def make_members(assets: Mapping[str, Any]) -> list[Member]:
  """The members of `make_assets`."""
  members = []
  for i, known in enumerate(assets["members"]):
    config = presets.completed(ml_collections.ConfigDict(known["config"]))
    presets.check(config)
    own = part(assets, i)
    resolved = presets.in_steps(config, known["steps_per_epoch"])
    members.append(Member(config, runs_lib.experiment(config).make(resolved, own)))
  return members


def empty_variables(assets: Mapping[str, Any]) -> list[Any]:
  """Zeros with the shapes of each member's variables."""
  is_leaf = lambda x: isinstance(x, dict) and x.keys() == {"shape", "dtype"}  # noqa: E731
  zeros = lambda x: jax.numpy.zeros(x["shape"], x["dtype"])  # noqa: E731
  return [
      jax.tree.map(zeros, known["variables"], is_leaf=is_leaf) for known in assets["members"]
  ]


def part(values: Mapping[str, Any], i: int) -> dict[str, Any]:
  """The i-th member's own names of assets or arrays: {"1.ids": x} as {"ids": x} for i = 1."""
  prefix = f"{i}."
  return {k.removeprefix(prefix): v for k, v in values.items() if k.startswith(prefix)}
