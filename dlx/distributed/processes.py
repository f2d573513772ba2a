"""Several processes that train one run together; with a single one, all of this is trivial.

Each process has some of the devices, and all of them run the same program. A computation on
arrays that lie on devices of several processes is one that all must start; so every decision
that a process takes from what it alone has seen (a file, a signal, a flag) is made one here.
"""

from collections.abc import Callable, Iterator
import contextlib
import json

import jax
from jax.experimental import multihost_utils
import numpy as np

from dlx.errors import UserError


class PeerLost(Exception):
  """Another process of this run has ended, so that nothing more can be computed with it."""

  def __init__(self):
    super().__init__(
        "another process of this run has ended or cannot be reached; the checkpoints are intact, "
        "and the same command on all processes resumes"
    )


def is_primary() -> bool:
  """Whether this process writes what is written once: metrics, pictures, the folder's files."""
  return jax.process_index() == 0


def largest(value: int) -> int:
  """The largest of the processes' values."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.process_allgather(np.int32(value)).max())


def gather(text: str) -> list[str]:
  """Every process's text, the first one's first."""
  if jax.process_count() == 1:
    return [text]
  content = text.encode()
  padded = np.zeros(max(1, largest(len(content))), np.uint8)
  padded[: len(content)] = np.frombuffer(content, np.uint8)
  rows = multihost_utils.process_allgather(padded)
  return [bytes(row).rstrip(b"\0").decode() for row in rows]


def raise_together(function: Callable[[], None]) -> None:
  """Calls the function; when it fails on any process, it fails on all.

  Raises:
    UserError: the first process's one, in the order of their numbers.
  """
  said = ""
  try:
    function()
  except UserError as e:
    said = str(e)
  for message in gather(said):
    if message:
      raise UserError(message)


def on_primary(function: Callable[[], None]) -> None:
  """Calls the function on the first process alone; when it fails there, it fails on all."""
  raise_together(lambda: function() if is_primary() else None)


def check_equal(values: dict) -> None:
  """Raises UserError unless all processes have the same JSON values; it names what differs."""
  first, *others = (json.loads(text) for text in gather(json.dumps(values)))
  for number, other in enumerate(others, 1):
    differing = [
        f"{key} ({first.get(key, 'absent')} there, {other.get(key, 'absent')} here)"
        for key in sorted(first.keys() | other.keys())
        if first.get(key) != other.get(key)
    ]
    if differing:
      raise UserError(
          f"process {number} was started otherwise than process 0: {', '.join(differing)}; all "
          f"processes need the same command"
      )


@contextlib.contextmanager
def detect_peer_failure() -> Iterator[None]:
  """Turns the errors by which jax's collectives tell of a dead process into PeerLost."""
  try:
    yield
  except (ValueError, RuntimeError) as e:
    said = ("Gloo", "coordination service", "NCCL", "UNAVAILABLE")
    if jax.process_count() > 1 and any(word in str(e) for word in said):
      raise PeerLost() from e
    raise
