"""Writes an sbatch file that trains on a SLURM cluster, and submits it if asked.

  python -m launch.clusters.slurm [--nodes=1] [--gpus_per_node=1] [--time=04:00:00] [--partition=NAME]
      [--account=NAME] [--cpus_per_task=8] [--name=NAME] [--setup=COMMAND] [--output=FILE]
      [--submit] -- --config=FILE:PRESET --workdir=DIR [--config.KEY=VALUE ...]

Two minutes before its time is up the job gets a signal, saves, and queues itself again;
so it does when it is pre-empted. launch.train resumes in the same --workdir, which must be
on a disk that all nodes see.
"""

import pathlib
import re
import shlex
import shutil
import subprocess

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_integer("nodes", 1, "How many machines.", lower_bound=1)
flags.DEFINE_integer("gpus_per_node", 1, "GPUs of each; 0 trains on its CPU.", lower_bound=0)
flags.DEFINE_integer("cpus_per_task", 8, "CPU cores of each process.", lower_bound=1)
flags.DEFINE_string("time", "04:00:00", "After which the job queues itself again.")
flags.DEFINE_string("partition", None, "Of the cluster.")
flags.DEFINE_string("account", None, "Who pays.")
flags.DEFINE_string("name", None, "Of the job; made of the workdir when not given.")
flags.DEFINE_string("setup", "source .venv/bin/activate", "Run first, in the project's folder.")
flags.DEFINE_string("output", None, "The file to write; NAME.sbatch when not given.")
flags.DEFINE_bool("submit", False, "Give it to sbatch.")

SECONDS_TO_SAVE = 120
_SAVED = 128 + 10  # What launch.train exits with after it saved for SIGUSR1.

_SCRIPT = """\
#!/bin/bash
{directives}

cd {folder}
{setup}
{srun}
code=$?
if [ $code -eq {saved} ]; then  # It saved because its time was up.
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
  """The sbatch file: a process for each GPU, or for each node without any.

  Args:
    arguments: flags of launch.train.
    name: of the job and its log.
    folder: the project's.
    nodes, gpus_per_node, cpus_per_task, time, partition, account: as sbatch has them.
    setup: a command before the training.
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
  """Writes the file."""
  from dlx.errors import UserError
  from launch.cli import configs
  from launch.clusters import jobs

  arguments = jobs.train_arguments(arguments)
  name = jobs.job_name(FLAGS.name, arguments)
  if not re.fullmatch(r"(\d+-)?\d+(:\d\d){0,2}", FLAGS.time):
    raise UserError(f"--time={FLAGS.time} is no time of SLURM's; use HH:MM:SS or D-HH:MM:SS")
  options = ("nodes", "gpus_per_node", "cpus_per_task", "time", "setup", "partition", "account")
  text = script(
      arguments, name=name, folder=configs.ROOT, **{key: FLAGS[key].value for key in options}
  )
  path = pathlib.Path(FLAGS.output or f"{name}.sbatch")
  try:
    path.write_text(text)
  except OSError as e:
    raise UserError(f"--output={path} cannot be written: {e.strerror}") from None
  print(f"{path} is written; sbatch {shlex.quote(str(path))} submits it")
  if FLAGS.submit:
    _submit(path)


def _submit(path: pathlib.Path) -> None:
  from dlx.errors import UserError

  if shutil.which("sbatch") is None:
    raise UserError("there is no program sbatch here; run --submit on the cluster's login node")
  done = subprocess.run(["sbatch", "--parsable", str(path)], capture_output=True, text=True)
  if done.returncode:
    raise UserError(f"sbatch refused {path}: {done.stderr.strip() or 'no reason given'}")
  job = done.stdout.strip().partition(";")[0]
  print(f"job {job}; squeue --job={job} shows it, scancel {job} ends it")


if __name__ == "__main__":
  program.run(main, positional=True)
