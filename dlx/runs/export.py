"""A run's variables as one safetensors file, with the files that are needed to use them.

  model.safetensors   one array per variable, named by its path ("params.recurrent.0.hidden",
                      "batch_stats.stem_norm.mean")
  config.json         the run's config, the step of the variables, and names of empty dicts
  data.json, assets.json, assets.safetensors   as in the run
  record.json         sizes and checksums of these files

The folder appears when it is complete.
"""

import os
import pathlib
import shutil

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import safetensors.numpy

from dlx.data import word_vectors
from dlx.errors import UserError
from dlx.runs import assets, files, record
from dlx.runs import workdir as workdirs
from dlx.runs.run import Run

WEIGHTS = "model.safetensors"
_STEP, _EMPTY = "exported_step", "exported_empty"


def is_export(directory: str | pathlib.Path) -> bool:
  """Whether `export` wrote this folder."""
  directory = pathlib.Path(directory)
  if (directory / WEIGHTS).exists():
    return True
  return record.exists(directory) and record.has(directory, WEIGHTS)


def export(run: Run, directory: str | pathlib.Path) -> pathlib.Path:
  """Writes a run's variables, config and assets to a new or empty folder.

  Returns:
    The safetensors file's path.

  Raises:
    UserError: the folder is not empty, or cannot be written.
  """
  directory = pathlib.Path(directory)
  if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
    raise UserError(f"{directory} is not an empty folder; name a new one")
  leaves = {
      jax.tree_util.keystr(path, simple=True, separator="."): leaf
      for path, leaf in jax.tree.leaves_with_path(run.eval_variables, is_leaf=_is_empty)
  }
  arrays = {name: np.asarray(leaf) for name, leaf in leaves.items() if not _is_empty(leaf)}
  empty = [name for name in leaves if name not in arrays]
  config = {**run.config.to_dict(), _STEP: run.step, _EMPTY: empty}
  new = directory.with_name(f".{directory.name}.{os.getpid()}{files.TEMPORARY}")
  try:
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    for name in (workdirs.DATA, assets.ASSETS, assets.ARRAYS):
      if record.has(run.workdir, name):
        record.write(new, name, record.read(run.workdir, name))
    workdirs.write_json(new, workdirs.CONFIG, config)
    record.write(new, WEIGHTS, safetensors.numpy.save(arrays))
    if directory.exists():
      directory.rmdir()
    new.rename(directory)
  except OSError as e:
    raise UserError(f"{directory} cannot be written: {e.strerror}") from None
  finally:
    shutil.rmtree(new, ignore_errors=True)
  return directory / WEIGHTS


def export_vectors(run: Run, path: str | pathlib.Path) -> pathlib.Path:
  """Writes a run's word vectors to a new file in word2vec's text format.

  Returns:
    The file's path.

  Raises:
    UserError: the experiment has no word vectors, the file exists, or it cannot be written.
  """
  if run.task.vectors is None:
    raise UserError(f"{run.config.experiment} has no word vectors; export it as safetensors")
  path = pathlib.Path(path)
  if path.exists():
    raise UserError(f"{path} exists; name a new file")
  word_vectors.write(path, *run.task.vectors(run.eval_variables))
  return path


def load(directory: str | pathlib.Path) -> Run:
  """Opens what `export` wrote, as a run that can be evaluated and sampled.

  Raises:
    UserError: the folder does not contain an export.
  """
  directory = pathlib.Path(directory)
  config = workdirs.read_config(directory).to_dict()
  arrays = assets.load_arrays(directory, WEIGHTS)
  step, empty = config.pop(_STEP, None), config.pop(_EMPTY, None)
  try:
    flat = {name: jnp.asarray(array) for name, array in arrays.items()}
    variables = _nest({**flat, **{name: {} for name in empty}})
    variables["params"]
  except (KeyError, TypeError, RecursionError):
    raise UserError(
        f"{directory / WEIGHTS} is not an export of dlx: its arrays are not those of a model"
    ) from None
  if type(step) is not int:
    raise UserError(f"{directory / workdirs.CONFIG} is not that of an export: it has no step")
  config = workdirs.completed(directory, ml_collections.ConfigDict(config))
  return Run(directory, config, step, variables, assets.load(directory))


def _is_empty(tree) -> bool:
  return isinstance(tree, dict) and not tree


def _nest(flat: dict):
  """{"a.0.b": x} as {"a": [{"b": x}]}: keys that count from 0 become a list."""
  if flat.keys() == {""}:
    return flat[""]
  heads = {}
  for name, value in flat.items():
    head, _, rest = name.partition(".")
    heads.setdefault(head, {})[rest] = value
  nested = {head: _nest(rest) for head, rest in heads.items()}
  if all(head.isdecimal() for head in nested):
    return [nested[str(i)] for i in range(len(nested))]
  return nested
