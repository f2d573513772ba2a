"""What the launchers of jobs share: the training command, and names that schedulers take."""

from collections.abc import Sequence
import re

from dlx.errors import UserError


def train_arguments(arguments: Sequence[str]) -> list[str]:
  """The flags for launch.train, checked as launch.train would.

  Args:
    arguments: what stands behind `--` on a launcher's command line.

  Raises:
    UserError: there are none, they name no --workdir, or a key or a value is wrong.
  """
  if not arguments:
    raise UserError(
        "nothing to train: put launch.train's flags behind --, for example "
        "-- --config=experiments/gru_lm/config.py:quickstart --workdir=runs/mine"
    )
  from launch.cli import configs

  configs.check_flags(["train", *arguments])
  if not any(argument.startswith("--workdir=") for argument in arguments):
    raise UserError(
        "--workdir is missing behind --; a job that is started again resumes only in a folder "
        "of its own"
    )
  return list(arguments)


def job_name(name: str | None, arguments: Sequence[str]) -> str:
  """The name given, or one made of the workdir's last part.

  Raises:
    UserError: a given name has other characters than small letters, digits and dashes.
  """
  if name is None:
    workdir = next(a for a in arguments if a.startswith("--workdir="))
    last = workdir.partition("=")[2].rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9]+", "-", f"dlx-{last}").strip("-")[:50].rstrip("-")
  if not re.fullmatch(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?", name):
    raise UserError(
        f"--name={name}: use at most 50 small letters, digits and dashes, a letter first"
    )
  return name
