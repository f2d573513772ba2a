"""Trains an experiment, or resumes it with the same command.

  python -m launch.train --config=experiments/gru_lm/config.py:quickstart
      [--workdir=DIR] [--config.KEY=VALUE ...] [--override] [--profile=100:120]
  python -m launch.train --list
  python -m launch.train --help --config=FILE:PRESET     # the keys with values and ranges

On TPU slices, under SLURM and with Open MPI, --distributed is enough to train with several
processes; elsewhere every process also gets --coordinator, --num_processes and --process_id.
"""

import sys

from absl import flags

from dlx import malloc
from dlx.errors import UserError
from launch.cli import configs, paths, program, supervisor

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  paths.define("workdir", None, "Folder of the run; a new one is created by default.")
  flags.DEFINE_bool("override", False, "Continue a run although its config differs.")
  flags.DEFINE_string("profile", None, "Trace the steps START:STOP for TensorBoard or Perfetto.")
  flags.DEFINE_bool("list", False, "Show the experiments and their presets, and stop.")
  flags.DEFINE_bool("distributed", False, "Train together with the other processes of this job.")
  flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, if it cannot be detected.")
  flags.DEFINE_integer("num_processes", None, "Number of processes.")
  flags.DEFINE_integer("process_id", None, "Index of this process, from 0.")


def main(config) -> None:
  """Trains."""
  from dlx.distributed import initialize, processes
  from dlx.training.train import train

  if FLAGS.distributed:
    if not FLAGS.workdir:
      raise UserError("--distributed needs --workdir, a folder that all processes see")
    initialize.initialize(FLAGS.coordinator, FLAGS.num_processes, FLAGS.process_id)
  with processes.detect_peer_failure():
    if not FLAGS.workdir:
      from dlx.runs import workdir as workdirs

      FLAGS.workdir = str(workdirs.default(config))
      print(f"--workdir={FLAGS.workdir}", flush=True)
    train(config, FLAGS.workdir, override=FLAGS.override, profile=FLAGS.profile)
    if processes.is_primary():
      print(f"trained: {FLAGS.workdir}")


def list_experiments() -> None:
  """Prints every config file with its presets."""
  for path, presets in configs.experiments().items():
    print(f"{path}: {', '.join(presets)}")


if __name__ == "__main__":
  if "--list" in sys.argv[1:]:
    program.run(list_experiments, define_flags)
  else:
    malloc.restart()
    if supervisor.is_distributed(sys.argv):
      supervisor.supervise()
    program.run(main, define_flags, with_config=True, end=supervisor.exit_together)
