"""One run at a time trains in a folder."""

from collections.abc import Iterator
import contextlib
import fcntl
import pathlib

from dlx.distributed import processes
from dlx.errors import UserError

LOCK = "lock"


@contextlib.contextmanager
def held(workdir: pathlib.Path) -> Iterator[None]:
  """While entered, no other run trains in the folder; the kernel unlocks it for a dead process.

  Of several processes that train together the first one has the lock.

  Raises:
    UserError: another run has it.
  """
  if not processes.is_primary():
    yield
    return
  with (workdir / LOCK).open("w") as file:
    try:
      fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
      raise UserError(
          f"another process is training in --workdir={workdir}; wait for it, stop it, or name "
          f"another folder"
      ) from None
    except OSError:  # The file system has no locks.
      pass
    yield


def check(workdir: pathlib.Path) -> None:
  """Raises UserError when a run trains in the folder at this moment; writes nothing."""
  if (workdir / LOCK).exists():
    with held(workdir):
      pass
