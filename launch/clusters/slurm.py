"""Writes an sbatch file that trains on a SLURM cluster; --submit submits it.

  python -m launch.clusters.slurm [--nodes=1] [--gpus_per_node=1] [--time=04:00:00]
      [--partition=NAME] [--account=NAME] [--cpus_per_task=8] [--name=NAME] [--setup=COMMAND]
      [--output=FILE] [--submit] -- --config=FILE:PRESET --workdir=DIR [--config.KEY=VALUE ...]

Two minutes before its time limit the job receives a signal, saves a checkpoint and is requeued;
it is also requeued when it is preempted. launch.train resumes in the same --workdir, which must
be on a file system that all nodes share.
"""

import pathlib
import re
import shlex
import shutil
import subprocess

from absl import flags

from dlx.errors import UserError
from launch.cli import configs, paths, program
from launch.clusters import jobs

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_integer("nodes", 1, "Number of machines.", lower_bound=1)
  flags.DEFINE_integer("gpus_per_node", 1, "GPUs per machine; 0 trains on its CPU.", lower_bound=0)
  flags.DEFINE_integer("cpus_per_task", 8, "CPU cores per process.", lower_bound=1)
  flags.DEFINE_string("time", "04:00:00", "Time limit; the job is requeued when it is reached.")
  flags.DEFINE_string("partition", None, "Partition of the cluster.")
  flags.DEFINE_string("account", None, "Account to charge.")
  flags.DEFINE_string("name", None, "Job name; by default made from the workdir.")
  flags.DEFINE_string(
      "setup", "source .venv/bin/activate", "Command to run first, in the project's directory."
  )
  paths.define("output", None, "File to write; by default NAME.sbatch.")
  flags.DEFINE_bool("submit", False, "Submit it with sbatch.")


SECONDS_TO_SAVE = 120
_SAVED = 128 + 10  # Exit code of launch.train after SIGUSR1.

_SCRIPT = """\
#!/bin/bash
{directives}

cd {folder}
{setup}
{srun}
code=$?
if [ $code -eq {saved} ]; then  # Saved before the time limit.
  scontrol requeue "$SLURM_JOB_ID"
fi
exit $code
"""


def script(
    arguments: list[str],
    *,
    name: str,
    folder: pathlib.Path,
    nodes: int,
    gpus_per_node: int,
    cpus_per_task: int,
    time: str,
    setup: str,
    partition: str | None = None,
    account: str | None = None,
) -> str:
  """The sbatch file: one process per GPU, or per node without GPUs.

  Args:
    arguments: arguments for launch.train.
    name: name of the job and its log.
    folder: the project's directory.
    nodes, gpus_per_node, cpus_per_task, time, partition, account: as in sbatch.
    setup: command to run before training.
  """
  directives = {
      "job-name": name,
      "nodes": nodes,
      "ntasks-per-node": max(1, gpus_per_node),
      "cpus-per-task": cpus_per_task,
      "gpus-per-node": gpus_per_node or None,
      "time": time,
      "partition": partition,
      "account": account,
      "output": f"{name}-%j.log",
      "open-mode": "append",
      "signal": f"USR1@{SECONDS_TO_SAVE}",
  }
  lines = [f"#SBATCH --{key}={value}" for key, value in directives.items() if value is not None]
  train = ["python", "-m", "launch.train", *arguments]
  if nodes * max(1, gpus_per_node) > 1:
    train.append("--distributed")
  return _SCRIPT.format(
      directives="\n".join([*lines, "#SBATCH --requeue"]),
      folder=shlex.quote(str(folder)),
      setup=setup,
      srun=shlex.join(["srun", "--kill-on-bad-exit=1", *train]),
      saved=_SAVED,
  )


def main(*arguments: str) -> None:
  """Writes the sbatch file, and submits it with --submit."""
  arguments = jobs.train_arguments(arguments)
  name = jobs.job_name(FLAGS.name, arguments)
  if not re.fullmatch(r"([0-9]+-)?[0-9]+(:[0-9]{2}){0,2}", FLAGS.time):
    raise UserError(f"--time={FLAGS.time} is not a valid SLURM time; use HH:MM:SS or D-HH:MM:SS")
  jobs.check_word("partition", FLAGS.partition)
  jobs.check_word("account", FLAGS.account)
  jobs.check_printable("--setup", FLAGS.setup.replace("\n", " "))  # Several commands.
  options = ("nodes", "gpus_per_node", "cpus_per_task", "time", "setup", "partition", "account")
  text = script(
      arguments, name=name, folder=configs.ROOT, **{key: FLAGS[key].value for key in options}
  )
  path = pathlib.Path(FLAGS.output or f"{name}.sbatch")
  jobs.write(path, text)
  print(f"wrote {path}; submit it with: sbatch {shlex.quote(str(path))}")
  if FLAGS.submit:
    _submit(path)


def _submit(path: pathlib.Path) -> None:
  if shutil.which("sbatch") is None:
    raise UserError("sbatch is not installed here; use --submit on a login node of the cluster")
  file = f"./{path}" if str(path).startswith("-") else str(path)  # Not an option of sbatch.
  done = subprocess.run(
      ["sbatch", "--parsable", file], capture_output=True, text=True, errors="replace"
  )
  if done.returncode:
    raise UserError(f"sbatch rejected {path}: {done.stderr.strip() or 'no reason given'}")
  job = done.stdout.strip().partition(";")[0]
  print(f"submitted job {job}; status: squeue --job={job}, cancel: scancel {job}")


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
