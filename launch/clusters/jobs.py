"""Shared by the launchers: the training command, and valid job names."""

from collections.abc import Sequence
import re

from dlx.errors import UserError
from launch.cli import configs


def train_arguments(arguments: Sequence[str]) -> list[str]:
  """The arguments for launch.train, validated as launch.train validates them.

  Args:
    arguments: the part of a launcher's command line behind `--`.

  Raises:
    UserError: there are none, --workdir is missing, or a key or a value is wrong.
  """
  if not arguments:
    raise UserError(
        "nothing to train: put launch.train's flags behind --, for example "
        "-- --config=experiments/gru_lm/config.py:quickstart --workdir=runs/mine"
    )
  configs.check_flags(["train", *arguments])
  if not any(argument.startswith("--workdir=") for argument in arguments):
    raise UserError(
        "--workdir is missing behind --; a job that is restarted resumes only in its own workdir"
    )
  return list(arguments)


def job_name(name: str | None, arguments: Sequence[str]) -> str:
  """The given name, or one made from the last part of the workdir.

  Raises:
    UserError: the given name has characters other than lowercase letters, digits and dashes.
  """
  if name is None:
    workdir = next(a for a in arguments if a.startswith("--workdir="))
    last = workdir.partition("=")[2].rstrip("/").rpartition("/")[2].lower()
    name = re.sub(r"[^a-z0-9]+", "-", f"dlx-{last}").strip("-")[:50].rstrip("-")
  if not re.fullmatch(r"[a-z]([a-z0-9-]{0,48}[a-z0-9])?", name):
    raise UserError(
        f"--name={name}: use at most 50 lowercase letters, digits and dashes, starting with a "
        f"letter"
    )
  return name
