"""Shared by the launchers: the training command, and values that a job file can hold."""

from collections.abc import Sequence
import os
import pathlib
import re

from dlx.errors import UserError
from launch.cli import configs


def train_arguments(arguments: Sequence[str]) -> list[str]:
  """The arguments for launch.train, validated as launch.train validates them.

  Args:
    arguments: the part of a launcher's command line behind `--`.

  Raises:
    UserError: there are none, --workdir is missing, a key or a value is wrong, or has a line break
      or another control character.
  """
  if not arguments:
    raise UserError(
        "nothing to train: put launch.train's flags behind --, for example "
        "-- --config=experiments/gru_lm/config.py:quickstart --workdir=runs/mine"
    )
  # Where the locale is not UTF-8, Python decodes the bytes of other letters to surrogates.
  arguments = [os.fsencode(a).decode("utf-8", "surrogateescape") for a in arguments]
  for argument in arguments:
    check_printable(argument.partition("=")[0], argument)
  configs.check_flags(["train", *arguments])
  if not any(argument.startswith("--workdir=") for argument in arguments):
    raise UserError(
        "--workdir is missing behind --; a job that is restarted resumes only in its own workdir"
    )
  return arguments


def check_printable(name: str, value: str) -> None:
  """Raises UserError if a value has a line break or another control character."""
  if found := re.search(r"[\x00-\x1f\x7f]", value):
    raise UserError(f"{name} has the control character {found[0]!r}, which a job cannot pass on")


def check_word(flag: str, value: str | None) -> None:
  """Refuses what could end a value, or begin an option, in a file or command.

  Raises:
    UserError: the value is not None and has other than letters, digits and . _ : / @ , + -, or
      begins with one of these.
  """
  if value is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/@,+-]*", value):
    raise UserError(
        f"--{flag}={value!r}: expected letters, digits and . _ : / @ , + -, the first a letter or "
        f"a digit"
    )


def write(path: pathlib.Path, text: str) -> None:
  """Writes a job's file in UTF-8, whatever the locale, with its line ends as they are.

  Raises:
    UserError: it cannot be written.
  """
  try:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
  except OSError as e:
    raise UserError(f"--output={path} cannot be written: {e.strerror}") from None


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
