"""A file lock on a workdir: one run at a time trains in it."""

from collections.abc import Iterator
import contextlib
import fcntl
import pathlib

from dlx.distributed import processes
from dlx.errors import UserError

LOCK = "lock"


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """Holds the lock on process 0; the kernel releases the lock of a process that dies.

  Raises:
    UserError: another run holds it.
  """
  if not processes.is_primary():
    yield
    return
  with (workdir / LOCK).open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(
          f"another process is training in workdir={workdir}; wait for it, stop it, or use "
          f"another workdir"
      ) from None
    except OSError:  # The file system has no locks.
      pass
    yield


def check(workdir: pathlib.Path) -> None:
  """Raises UserError if a run is training in the workdir; writes nothing."""
  if (workdir / LOCK).exists():
    with held(workdir):
      pass
