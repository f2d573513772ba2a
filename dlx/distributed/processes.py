"""Multi-process helpers; no-ops with one process.

Each process has some of the devices, and all of them run the same program. A computation on
arrays that are sharded over several processes must be started by all of them, so a decision that
depends on something local to one process (a file, a signal, an argument) is agreed on here.
"""

from collections.abc import Callable, Iterator
import contextlib
import json
import sys

import jax
from jax.experimental import multihost_utils
import numpy as np

from dlx.errors import UserError


class PeerLost(Exception):
  """Another process of this run has ended, so collective computations are no longer possible."""

  def __init__(self):
    super().__init__(
        "another process of this run has ended or cannot be reached; the checkpoints are intact, "
        "and the same command on all processes resumes"
    )


def is_primary() -> bool:
  """Whether this is process 0, which writes metrics, figures and the other files of a run."""
  return jax.process_index() == 0


def notice(line: str) -> None:
  """Prints a line on stderr on process 0: what a program skipped or guessed."""
  if is_primary():
    print(line, file=sys.stderr, flush=True)


def largest(value: int) -> int:
  """The maximum of the value over all processes."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def gather(text: str) -> list[str]:
  """The text of every process, in the order of their indices."""
  if jax.process_count() == 1:
    return [text]
  content = text.encode()
  padded = np.zeros(max(1, largest(len(content))), np.uint8)
  padded[: len(content)] = np.frombuffer(content, np.uint8)
  rows = multihost_utils.process_allgather(padded)
  return [bytes(row).rstrip(b"\0").decode() for row in rows]


def raise_together(function: Callable[[], None]) -> None:
  """Calls the function on every process; if it fails on any of them, it fails on all.

  Raises:
    UserError: the error of the failing process with the lowest index.
  """
  error = ""
  try:
    function()
  except UserError as e:
    error = str(e)
  for message in gather(error):
    if message:
      raise UserError(message)


def on_primary(function: Callable[[], None]) -> None:
  """Calls the function on process 0 only; if it fails there, it fails on all."""
  raise_together(lambda: function() if is_primary() else None)


def check_equal(values: dict) -> None:
  """Raises UserError, naming the differences, unless all processes have the same JSON values."""
  first, *others = (json.loads(text) for text in gather(json.dumps(values)))
  for index, other in enumerate(others, 1):
    differing = [
        f"{key} ({first.get(key, 'absent')} and {other.get(key, 'absent')})"
        for key in sorted(first.keys() | other.keys())
        if first.get(key) != other.get(key)
    ]
    if differing:
      raise UserError(
          f"processes 0 and {index} differ in {', '.join(differing)}; start all processes with the "
          f"same values"
      )


@contextlib.contextmanager
def detect_peer_failure() -> Iterator[None]:
  """Raises PeerLost in place of the errors that jax's collectives raise when a process died."""
  try:
    yield
  except (ValueError, RuntimeError) as e:
    signs = ("Gloo", "coordination service", "NCCL", "UNAVAILABLE")
    if jax.process_count() > 1 and any(sign in str(e) for sign in signs):
      raise PeerLost() from e
    raise
