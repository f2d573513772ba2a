"""dlx: deep learning as pure functions, in JAX.

`import dlx` imports no module yet: `dlx.layers.gru` does so when it is first used.
"""

import importlib
from importlib import util
import pkgutil

__version__ = "0.1.0"


def _import_lazily(module) -> None:
  """Makes the modules of a package its attributes, imported when they are first used."""
  package = module.__name__

  def get(name: str):
    if name.startswith("_") or util.find_spec(f"{package}.{name}") is None:
      raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return importlib.import_module(f"{package}.{name}")

  names = {info.name for info in pkgutil.iter_modules(module.__path__)}
  module.__getattr__ = get
  module.__dir__ = lambda: sorted({*vars(module), *names})


_import_lazily(importlib.import_module(__name__))
for _info in pkgutil.iter_modules(__path__):
  if _info.ispkg:  # Its __init__.py imports nothing.
    _import_lazily(importlib.import_module(f"{__name__}.{_info.name}"))


# The functions import what they need when they are called.


def train(config, workdir=None, *, override=False, profile=None):
  """Trains a config in a run directory, or resumes it; see dlx.training.train.train."""
  from dlx import paths
  from dlx.training import train

  workdir = None if workdir is None else paths.expand(workdir)
  return train.train(config, workdir, override=override, profile=profile)


def load_run(workdir, *, checkpoint="best"):
  """Opens a run: `run = dlx.load_run("runs/mine"); run.params`.

  Args:
    workdir: the folder of a run, or of an export.
    checkpoint: "best" by the validation metric, or "latest"; an export has only one.

  Returns:
    A dlx.runs.run.Run: workdir, config, step, variables, assets, task.

  Raises:
    dlx.errors.UserError: the folder is not a run, or has no checkpoint yet.
  """
  from dlx import paths
  from dlx.runs import export, run

  workdir = paths.expand(workdir)
  if export.is_export(workdir):
    return export.load(workdir)
  return run.load(workdir, checkpoint=checkpoint)


def evaluate(run, split="test", data=None):
  """The metrics of a run on a split; see dlx.training.evaluation.evaluate_run."""
  from dlx.training import evaluation

  return evaluation.evaluate_run(run, split, data)[0]


def predict(run, lines, **options):
  """Yields one prediction per line; see dlx.training.evaluation.predict."""
  from dlx.training import evaluation

  return evaluation.predict(run, lines, **options)


def export(run, folder):
  """Writes a run as safetensors and JSON to a new folder; see dlx.runs.export.export."""
  from dlx import paths
  from dlx.runs import export

  return export.export(run, paths.expand(folder))


def sample(run, *, seed=0, **options):
  """Samples from a run's model: pieces of text, or images.

  Args:
    run: an opened run.
    seed: of the draws.
    **options: of the experiment's `sample`: prompt, length, temperature, ...
  """
  import jax

  return run.task.sample(run.eval_variables, jax.random.key(seed), **options)
