"""Trains an experiment, or resumes it: the same command does both.

  python -m launch.train --config=experiments/gru_lm/config.py:quickstart
      [--workdir=DIR] [--config.KEY=VALUE ...] [--override] [--profile=100:120]
  python -m launch.train --list

Of several processes each runs this with --distributed; see launch/distributed.py.
"""

import contextlib
import pathlib
import sys

from absl import flags

from dlx.distributed import initialize
from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run; a new one is made when not given.")
flags.DEFINE_bool("override", False, "Go on in a workdir even though its config differs.")
flags.DEFINE_string("profile", None, "Trace the steps START:STOP for TensorBoard or Perfetto.")
flags.DEFINE_bool("list", False, "Show the experiments and their presets, and stop.")


def main() -> None:
  """Trains."""
  from dlx import doctor
  from dlx.distributed import processes
  from dlx.errors import UserError
  from dlx.runs import object_storage, run
  from dlx.runs import workdir as workdirs
  from dlx.training import fit

  if FLAGS.distributed:
    if not FLAGS.workdir:
      raise UserError("--distributed needs --workdir, a folder that all processes see")
    initialize.start()
  config = FLAGS.config
  if FLAGS.profile:
    config.training.profile = FLAGS.profile
  fit.check_config(config.training)
  if not 0 <= config.seed < 2**32:  # Beyond it, jax.random.key keeps the low bits only.
    raise UserError(f"config.seed is {config.seed}; use 0 <= seed < 2**32")
  with processes.noticing_losses():
    processes.check_equal({**workdirs.flatten(config.to_dict()), "workdir": FLAGS.workdir})
    with _opened(config) as workdir:
      processes.on_first(lambda: workdirs.check(workdir, config, override=FLAGS.override))
      experiment = run.experiment(config)
      doctor.check()
      if not FLAGS.workdir:
        print(f"--workdir={workdir}", flush=True)
      experiment.train(config, workdir)
      if processes.is_first():
        object_storage.put(workdir)
        print(f"trained: {FLAGS.workdir or workdir}")


def _opened(config) -> contextlib.AbstractContextManager[pathlib.Path]:
  from dlx.runs import object_storage
  from dlx.runs import workdir as workdirs

  if FLAGS.workdir and object_storage.is_address(FLAGS.workdir):
    return object_storage.opened_to_train(FLAGS.workdir)
  return contextlib.nullcontext(
      pathlib.Path(FLAGS.workdir) if FLAGS.workdir else workdirs.default(config)
  )


def list_experiments() -> None:
  """Prints every config file with its presets."""
  from launch.cli import configs

  for path, presets in configs.experiments().items():
    print(f"{path}: {', '.join(presets)}")


if __name__ == "__main__":
  if "--list" in sys.argv[1:]:
    program.run(list_experiments)
  else:
    if initialize.is_wanted(sys.argv):
      initialize.guard()
    program.run(main, with_config=True, end=initialize.end)
