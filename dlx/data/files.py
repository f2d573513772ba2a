"""Files as bytes, and what stands in their way as one line."""

import pathlib

from dlx.errors import UserError


def check_regular(path: str | pathlib.Path) -> None:
  """Refuses what may have no end.

  Raises:
    UserError: the path is a pipe, a socket or a device.
  """
  path = pathlib.Path(path)
  if path.exists() and not (path.is_file() or path.is_dir()):
    raise UserError(f"{path} is a pipe or a device; name a regular file")


def read_bytes(path: str | pathlib.Path, kind: str) -> bytes:
  """The content of a regular file.

  Args:
    path: the file.
    kind: what is expected, for the messages: "text file".

  Raises:
    UserError: there is no such file, it is a directory, pipe or device, or it cannot be read.
  """
  path = pathlib.Path(path)
  try:
    check_regular(path)
    if path.is_dir():
      raise UserError(f"{path} is a directory; name one {kind}")
    return path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{path} does not exist; name a {kind}") from None
  except OSError as e:
    raise UserError(f"{path} cannot be read: {e.strerror}") from None
