"""dlx: deep learning as pure functions, in JAX."""

__version__ = "0.1.0"


def load_run(workdir, *, checkpoint="best"):
  """Opens a run's workdir: its config, parameters, model and vocabulary.

  See `dlx.training.run.load`.
  """
  # Imported here so that `import dlx` stays quick.
  from dlx.training import run

  return run.load(workdir, checkpoint=checkpoint)
