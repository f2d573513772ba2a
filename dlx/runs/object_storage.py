"""Workdirs on Google Cloud Storage (gs://BUCKET/FOLDER), mirrored locally.

Orbax writes checkpoints to the bucket directly. All other files of a run are small: while a
program runs they are in a local folder, which is downloaded when the program starts and uploaded
before each checkpoint and at the end. So the files in the bucket always match its checkpoints,
and the local folder may be lost.
"""

from collections.abc import Iterator
import contextlib
import pathlib
import shutil
import sys
import tempfile
from urllib.parse import quote

import jax

from dlx import cache
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.runs import lease, lock

# Written by Orbax, needed only locally, or not part of the run.
_NOT_COPIED = ("checkpoints", lock.LOCK, lease.LEASE, lease.HEARTBEAT)

# The gs:// address that a local folder mirrors. A file in the folder could come from a stranger.
_addresses: dict[pathlib.Path, str] = {}
_temporary: list[tempfile.TemporaryDirectory] = []
_leases: dict[str, lease.Lease] = {}  # Held by this program, by path in the bucket.
_uploaded: dict[pathlib.Path, tuple[int, int]] = {}  # (size, modification time) of each file.


def is_address(workdir: str | pathlib.Path) -> bool:
  """Whether the workdir is in object storage."""
  return str(workdir).startswith("gs://")


def open_to_read(address: str) -> pathlib.Path:
  """A temporary copy of the files of a workdir, deleted when this process exits.

  Raises:
    UserError: the bucket cannot be read.
  """
  _temporary.append(tempfile.TemporaryDirectory(prefix="dlx-"))
  return _mirror(pathlib.Path(_temporary[-1].name), address)


@contextlib.contextmanager
def opened_to_train(address: str) -> Iterator[pathlib.Path]:
  """`folder(address)`, filled with the files of the workdir, while holding the lease on it.

  Other runs are refused this workdir, unless this one sends no heartbeat for so long that another
  takes over; then `upload` fails.

  Raises:
    UserError: the bucket cannot be read or written, or another run is training in the workdir.
  """
  local, root = folder(address), _root(address)

  def acquire():
    with _error_naming(address):
      # Without the timeout an unanswered request would delay heartbeats.
      new = lease.Lease(_files(requests_timeout=10), root)
      new.acquire(lambda line: print(line, file=sys.stderr, flush=True))
      _leases[root] = new

  try:
    _addresses[local] = address.rstrip("/")  # Messages name it.
    processes.raise_together(lambda: lock.check(local))
    processes.on_primary(acquire)
    processes.raise_together(lambda: _mirror(local, address))
    yield local
  except UserError as e:
    raise UserError(with_addresses(str(e))) from e
  finally:
    if root in _leases:
      _leases.pop(root).release()


def folder(address: str) -> pathlib.Path:
  """The local folder of an address; each process on a machine has its own."""
  name = f"{quote(address.rstrip('/'), safe='')}-{jax.process_index()}"
  return cache.folder() / "workdirs" / name


def checkpoints(workdir: pathlib.Path) -> pathlib.Path | str:
  """The checkpoint directory of a run: in the bucket if `workdir` mirrors one."""
  address = _address(workdir)
  return f"{address}/checkpoints" if address else workdir / "checkpoints"


def with_addresses(text: str) -> str:
  """A text that names local folders, with the addresses that they mirror in their place."""
  for local, address in _addresses.items():
    text = text.replace(str(local), address)
  return text


def download(workdir: pathlib.Path) -> None:
  """Downloads files that are not in `workdir` yet; a no-op unless it mirrors a bucket.

  Raises:
    UserError: the bucket cannot be read.
  """
  address = _address(workdir)
  if not address:
    return
  with _error_naming(address):
    files, root = _files(), _root(address)
    files.invalidate_cache()
    for name in files.find(root):
      inner = name.removeprefix(f"{root}/")
      if inner.split("/")[0] not in _NOT_COPIED and not (workdir / inner).exists():
        (workdir / inner).parent.mkdir(parents=True, exist_ok=True)
        files.get_file(name, str(workdir / inner))
        _changed(workdir / inner)  # Equal to the object, so `upload` skips it.


def upload(workdir: pathlib.Path) -> None:
  """Uploads files that are new or have changed; a no-op unless `workdir` mirrors a bucket.

  Raises:
    UserError: the bucket cannot be written, or another run has taken over the lease.
  """
  address = _address(workdir)
  if not address:
    return
  with _error_naming(address):
    files, root = _files(), _root(address)
    if root in _leases and not _leases[root].held():
      raise UserError(
          f"another run has taken over workdir={address}; it continues, and this one stops "
          f"without writing anything more"
      )
    # config.json makes the folder a run, and the record goes with every file.
    for path in sorted(workdir.rglob("*"), key=lambda p: (p.name == "config.json", p)):
      inner = path.relative_to(workdir)
      if path.is_file() and inner.parts[0] not in _NOT_COPIED and _changed(path):
        files.put_file(str(path), f"{root}/{inner}")


def _mirror(local: pathlib.Path, address: str) -> pathlib.Path:
  """Replaces the contents of the local folder by the files of the workdir."""
  try:
    shutil.rmtree(local, ignore_errors=True)
    local.mkdir(parents=True)
    _addresses[local] = address.rstrip("/")
  except OSError as e:
    raise UserError(
        f"the local copy of {address}, below {local.parent}, cannot be written: {e.strerror}"
    ) from None
  download(local)
  return local


def _changed(path: pathlib.Path) -> bool:
  """Whether the file has changed since the last call for it."""
  now = path.stat().st_size, path.stat().st_mtime_ns
  before, _uploaded[path] = _uploaded.get(path), now
  return now != before


def _address(workdir: pathlib.Path) -> str | None:
  return _addresses.get(pathlib.Path(workdir))


def _root(address: str) -> str:
  return address.removeprefix("gs://").rstrip("/")


def _files(**options):
  try:
    import gcsfs
  except ImportError:
    raise UserError("gs:// needs the package gcsfs: pip install gcsfs") from None
  return gcsfs.GCSFileSystem(**options)


@contextlib.contextmanager
def _error_naming(address: str) -> Iterator[None]:
  """Raises the errors of Google's libraries as one line that names the address."""
  try:
    yield
  except UserError:
    raise
  except Exception as e:  # They raise many types.
    reason = str(e).splitlines()[0][:160] if str(e) else type(e).__name__
    raise UserError(
        f"workdir={address} cannot be reached: {reason}. Check that the bucket exists and that you "
        f"are logged in (gcloud auth application-default login)"
    ) from None
