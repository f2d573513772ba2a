"""A file lock on a workdir: one run at a time trains in it."""

from collections.abc import Iterator
import contextlib
import os
import pathlib

try:
  import fcntl
except ImportError:  # Windows.
  fcntl = None
  import msvcrt

from dlx.distributed import processes
from dlx.errors import UserError

LOCK = "lock"


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """Holds the lock on process 0; the system releases the lock of a process that dies.

  Args:
    workdir: an existing folder.

  Raises:
    UserError: another run holds it, or there is something else of its name.
  """
  if not processes.is_primary():
    yield
    return
  path = workdir / LOCK
  try:
    # A link would be followed out of the folder.
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
  except OSError as e:
    raise UserError(f"{path} cannot be opened as a lock ({e.strerror}); remove it") from None
  with os.fdopen(descriptor, "r+b") as file:
    if not _acquire(file.fileno()):
      raise UserError(
          f"another process is training in workdir={workdir}; wait for it, stop it, or use "
          f"another workdir"
      )
    yield


def check(workdir: pathlib.Path) -> None:
  """Raises UserError if a run is training in the workdir; writes nothing."""
  if (workdir / LOCK).exists() or (workdir / LOCK).is_symlink():
    with held(workdir):
      pass


def _acquire(descriptor: int) -> bool:
  """False if another process holds the lock; True where the file system has none."""
  try:
    if fcntl is None:
      msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
      fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    return False
  except OSError:
    return fcntl is not None  # On Windows the error of a lock that is held.
  return True
