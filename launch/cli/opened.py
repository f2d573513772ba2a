"""The run that a program reads: flags --workdir and --checkpoint."""

from absl import flags

from launch.cli import paths, program


def define_flags() -> None:
  """Defines the two flags."""
  paths.define("workdir", None, "Required: the folder of a run, or of an export.")
  flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def opened_run():
  """The run that the flags name, after a check of this machine.

  Raises:
    UserError: there is no such run, or this machine computes wrongly.
  """
  import dlx
  from dlx import doctor

  run = dlx.load_run(program.required("workdir"), checkpoint=flags.FLAGS.checkpoint)
  doctor.check()
  return run
