"""A run's parameters as one safetensors file, with what is needed to use them, and back.

  model.safetensors   one array a parameter, named by its path ("recurrent.0.hidden"), and one
                      a variable ("variables.batch_stats.stem_norm.mean")
  config.json         the run's config, and the step the parameters are from
  *.json              what the experiment put beside its config, a vocabulary say
"""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from safetensors.numpy import load_file, save_file

from dlx.errors import UserError
from dlx.runs import run as runs
from dlx.training import state as states
from dlx.runs import workdir as workdirs

WEIGHTS = "model.safetensors"
_STEP = "exported_step"
_VARIABLES = "variables"


def is_export(directory: str | pathlib.Path) -> bool:
  """Whether `export` wrote this folder."""
  return (pathlib.Path(directory) / WEIGHTS).exists()


def export(run: runs.Run, directory: str | pathlib.Path) -> pathlib.Path:
  """Writes a run's parameters, variables, config and vocabulary to a new or empty folder.

  Returns:
    The safetensors file's path.

  Raises:
    UserError: the folder is not empty, or cannot be written.
  """
  directory = pathlib.Path(directory)
  if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
    raise UserError(f"{directory} is not an empty folder; name a new one")
  tree = {**run.params, _VARIABLES: run.variables}
  leaves = jax.tree.leaves_with_path(tree)
  arrays = {states.path_name(path): np.asarray(leaf) for path, leaf in leaves}
  try:
    directory.mkdir(parents=True, exist_ok=True)
    for path in run.workdir.glob("*.json"):
      if path.name not in (workdirs.CONFIG, workdirs.RUN):
        shutil.copy(path, directory)
    config = {**run.config.to_dict(), _STEP: run.step}
    (directory / workdirs.CONFIG).write_text(json.dumps(config, indent=2) + "\n")
    save_file(arrays, directory / WEIGHTS)
  except OSError as e:
    raise UserError(f"{directory} cannot be written: {e.strerror}") from None
  return directory / WEIGHTS


def load(directory: str | pathlib.Path) -> runs.Run:
  """Opens what `export` wrote, as a run that can be evaluated and sampled.

  Raises:
    UserError: the folder does not hold an export.
  """
  directory = pathlib.Path(directory)
  config = workdirs.read_config(directory).to_dict()
  try:
    arrays = load_file(directory / WEIGHTS)
  except FileNotFoundError:
    raise UserError(f"{directory} has no {WEIGHTS}") from None
  except Exception as e:  # safetensors has its own kinds of errors for damaged files.
    raise UserError(f"{directory / WEIGHTS} cannot be read: {e}") from None
  step = config.pop(_STEP, 0)
  params = _nest({name: jnp.asarray(array) for name, array in arrays.items()})
  variables = params.pop(_VARIABLES, {})
  config = ml_collections.ConfigDict(config)
  return runs.Run(directory, config, runs.experiment(config), step, params, variables)


def _nest(flat: dict):
  """{"a.0.b": x} as {"a": [{"b": x}]}: keys that count from 0 make a list."""
  if "" in flat:
    return flat[""]
  heads = {}
  for name, value in flat.items():
    head, _, rest = name.partition(".")
    heads.setdefault(head, {})[rest] = value
  nested = {head: _nest(rest) for head, rest in heads.items()}
  if all(head.isdecimal() for head in nested):
    return [nested[str(i)] for i in range(len(nested))]
  return nested
