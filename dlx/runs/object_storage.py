"""Workdirs in a bucket: gs://BUCKET/FOLDER, for machines that come and go.

Orbax writes checkpoints to the bucket itself. All other files of a run are small: while a
program runs they are in a folder of this machine, which is filled from the bucket when the
program begins and put there before each checkpoint and at the end. So the bucket always has
the files that its checkpoints go with, and this machine's folder may be lost.
"""

from collections.abc import Iterator
import contextlib
import logging
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

ADDRESS = ".address"  # In the folder of this machine: what it stands for.
# What Orbax keeps in the bucket, what only this machine needs, and what is no file of the run.
_NOT_COPIED = ("checkpoints", "checksums", lock.LOCK, ADDRESS, lease.CLAIM, lease.PULSE)


def is_address(workdir: str | pathlib.Path) -> bool:
  """Whether a workdir is not a folder of this machine."""
  return str(workdir).startswith("gs://")


def open_to_read(address: str) -> pathlib.Path:
  """A folder with the files of a workdir in a bucket, which lasts as long as this process.

  Raises:
    UserError: the bucket cannot be read.
  """
  _read.append(tempfile.TemporaryDirectory(prefix="dlx-"))
  return _fill(pathlib.Path(_read[-1].name), address)


_read: list[tempfile.TemporaryDirectory] = []


@contextlib.contextmanager
def opened_to_train(address: str) -> Iterator[pathlib.Path]:
  """`folder(address)`, with the files of the workdir in the bucket and no others.

  While entered, other runs are refused that workdir, unless this one is silent for so long
  that it is taken for dead; then `put` fails.

  Raises:
    UserError: the bucket cannot be read or written, or another run trains in that workdir.
  """
  place, root = folder(address), _root(address)

  def claim():
    with _naming(address):
      # A request without an answer must not be what makes this run a silent one.
      new = lease.Claim(_files(requests_timeout=10), root)
      new.take(lambda line: print(line, file=sys.stderr, flush=True))
      _claims[root] = new

  processes.raise_together(lambda: lock.check(place))
  try:
    processes.on_primary(claim)
    processes.raise_together(lambda: _fill(place, address))
    yield place
  finally:
    if root in _claims:
      _claims.pop(root).give_back()


_claims: dict[str, lease.Claim] = {}  # Of this program.


def _fill(place: pathlib.Path, address: str) -> pathlib.Path:
  try:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / ADDRESS).write_text(address.rstrip("/"))
  except OSError as e:
    raise UserError(f"{place}, where files of {address} go first: {e.strerror}") from None
  download(place)
  return place


def folder(address: str) -> pathlib.Path:
  """This machine's folder for an address; processes on one machine have one each."""
  name = f"{quote(address.rstrip('/'), safe='')}-{jax.process_index()}"
  return cache.folder() / "workdirs" / name


def checkpoints(workdir: pathlib.Path) -> pathlib.Path | str:
  """Where the checkpoints of a run are whose other files are in this folder."""
  address = _address(workdir)
  return f"{address}/checkpoints" if address else workdir / "checkpoints"


def download(workdir: pathlib.Path) -> None:
  """Brings new files of the bucket; nothing for a folder that stands for none.

  Raises:
    UserError: the bucket cannot be read.
  """
  address = _address(workdir)
  if not address:
    return
  with _naming(address):
    files, root = _files(), _root(address)
    files.invalidate_cache()
    for name in files.find(root):
      inner = name.removeprefix(f"{root}/")
      if inner.split("/")[0] not in _NOT_COPIED and not (workdir / inner).exists():
        (workdir / inner).parent.mkdir(parents=True, exist_ok=True)
        files.get_file(name, str(workdir / inner))
        _changed(workdir / inner)  # It is there as it is here: `put` leaves it alone.


def upload(workdir: pathlib.Path) -> None:
  """Copies files to the bucket that are not there as they are here; see `fetch`.

  Raises:
    UserError: the bucket cannot be written, or has been claimed by another program.
  """
  address = _address(workdir)
  if not address:
    return
  with _naming(address):
    files, root = _files(), _root(address)
    if root in _claims and not _claims[root].held():
      raise UserError(
          f"another run has begun in --workdir={address}; that one goes on, this one ends here "
          f"and writes nothing more"
      )
    for path in sorted(workdir.rglob("*")):
      inner = path.relative_to(workdir)
      if path.is_file() and inner.parts[0] not in _NOT_COPIED and _changed(path):
        files.put_file(str(path), f"{root}/{inner}")


_put: dict[pathlib.Path, tuple[int, int]] = {}


def _changed(path: pathlib.Path) -> bool:
  """Whether the file is not as it was when this was asked before."""
  now = path.stat().st_size, path.stat().st_mtime_ns
  before, _put[path] = _put.get(path), now
  return now != before


def _address(workdir: pathlib.Path) -> str | None:
  path = workdir / ADDRESS
  return path.read_text() if path.exists() else None


def _root(address: str) -> str:
  return address.removeprefix("gs://").rstrip("/")


def _files(**options):
  try:
    import gcsfs
  except ImportError:
    raise UserError("gs:// needs the package gcsfs: pip install gcsfs") from None
  logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # It logs what it raises, too.
  return gcsfs.GCSFileSystem(**options)


@contextlib.contextmanager
def _naming(address: str) -> Iterator[None]:
  """Turns what Google's libraries raise into one line that names the address."""
  try:
    yield
  except UserError:
    raise
  except Exception as e:  # They raise many kinds.
    said = str(e).splitlines()[0][:160] if str(e) else type(e).__name__
    raise UserError(
        f"--workdir={address} cannot be reached: {said}. Is the bucket there, and are you logged "
        f"in (gcloud auth application-default login)?"
    ) from None
