"""Names of files and folders that a user gives."""

import errno
import os

from dlx.errors import UserError

LONGEST = 255  # Bytes of a name, in nearly every file system.


def expand(path: str | os.PathLike) -> str:
  """The path with "~" as the home folder, which shells leave in --name=~/folder as it is.

  Raises:
    UserError: no file can have this name: it is too long, or has a zero byte.
  """
  path = os.path.expanduser(os.fspath(path))
  if "://" not in path and any(len(os.fsencode(part)) > LONGEST for part in path.split(os.sep)):
    raise UserError(too_long(path))  # Also below a folder that does not exist yet.
  try:
    os.lstat(path)
  except ValueError as e:
    raise UserError(f"{path!r} cannot be a path: {e}") from None
  except OSError as e:
    if e.errno == errno.ENAMETOOLONG:
      raise UserError(too_long(path)) from None
  return path


def too_long(path: str) -> str:
  """The message for a name that the file system refuses."""
  return f"{path}: the name is too long; file systems allow {LONGEST} bytes between two slashes"
