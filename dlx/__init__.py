"""dlx: deep learning as pure functions, in JAX."""

__version__ = "0.1.0"


def load_run(workdir, *, checkpoint="best"):
  """Opens a run: `run = dlx.load_run("runs/mine"); run.params`.

  Args:
    workdir: the folder of a run, or what launch.export wrote.
    checkpoint: "best" by the validation metric, or "latest"; an export has only one.

  Returns:
    A dlx.runs.run.Run: workdir, config, experiment, step, params.

  Raises:
    dlx.errors.UserError: the folder is not a run, or has no checkpoint yet.
  """
  # Imported here so that `import dlx` stays quick.
  from dlx.runs import export, run

  if export.is_export(workdir):
    return export.load(workdir)
  return run.load(workdir, checkpoint=checkpoint)
