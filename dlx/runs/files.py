"""Small files, written whole or not at all and read with care."""

import contextlib
import json
import os
import pathlib
import stat
import tempfile
from typing import Any

from dlx.errors import UserError

_links: list[tempfile.TemporaryDirectory] = []  # Deleted when the process ends.
TEMPORARY = ".new"  # Suffix of a file that is being written.


def write(path: pathlib.Path, content: bytes | str) -> None:
  """Writes a temporary file, flushes it to disk and renames it.

  A process that is killed leaves the old content or the new one, an error nothing new. A link at
  `path` is replaced, and not followed.
  """
  content = content.encode() if isinstance(content, str) else content
  new = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
  with contextlib.suppress(FileNotFoundError):
    os.remove(new)
  try:
    # O_EXCL: a link of this name would be an error too.
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), "wb") as file:
      file.write(content)
      file.flush()
      os.fsync(file.fileno())
    os.replace(new, path)
  except OSError:  # The disk is full, or a folder is in the way.
    with contextlib.suppress(OSError):
      os.remove(new)
    raise
  sync_folder(path.parent)


def write_json(path: pathlib.Path, content: Any) -> None:
  """Writes strict JSON; see `write`."""
  write(path, to_json(content))


def to_json(content: Any) -> bytes:
  """Strict JSON, indented."""
  return (json.dumps(content, indent=2, allow_nan=False) + "\n").encode()


def sync_folder(folder: pathlib.Path) -> None:
  """Flushes the names in a folder to disk, where the system can."""
  if os.name == "nt":  # Windows opens no folders.
    return
  descriptor = os.open(folder, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def remove_temporary(folder: pathlib.Path) -> None:
  """Deletes what killed calls of `write` left."""
  for path in folder.glob(f".*{TEMPORARY}"):
    path.unlink(missing_ok=True)


def plain(path: pathlib.Path) -> pathlib.Path:
  """The same path under a name without *, ?, [ and ], which Orbax takes for wildcards.

  Saving below such a name, it would lose all arrays. The other name is that of a temporary link.
  """
  if not set("*?[]") & set(str(path)):
    return path
  path.parent.mkdir(parents=True, exist_ok=True)
  _links.append(tempfile.TemporaryDirectory(prefix="dlx-"))
  link = pathlib.Path(_links[-1].name) / "folder"
  link.symlink_to(path.parent, target_is_directory=True)
  return link / path.name


def read(path: pathlib.Path) -> bytes:
  """The content of a regular file.

  Raises:
    UserError: it is missing, a link (which could lead out of a stranger's folder), a pipe, a
      device or a folder, or cannot be read.
  """
  try:
    mode = os.lstat(path).st_mode
    if stat.S_ISLNK(mode):
      raise UserError(f"{path} is a link, which is not followed; put a copy of the file there")
    if not stat.S_ISREG(mode):
      raise UserError(f"{path} is not a regular file; put the file there")
    return path.read_bytes()
  except FileNotFoundError:
    raise UserError(f"{path} is missing; restore it from a copy") from None
  except OSError as e:
    raise UserError(f"{path} cannot be read: {e.strerror or e}") from None


def parse_json(path: pathlib.Path, content: bytes, kind: type) -> Any:
  """The JSON value in a file's content.

  Raises:
    UserError: it is not JSON, or not of this kind (dict or list).
  """
  try:
    value = json.loads(content)
  except (ValueError, RecursionError) as e:
    raise UserError(f"{path} is corrupted: {str(e)[:100]}") from None
  if not isinstance(value, kind):
    raise UserError(f"{path} is corrupted: expected a JSON {kind.__name__}")
  return value
