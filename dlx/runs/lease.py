"""A lease on a workdir in object storage, which has no file locks.

The owner of a lease has written its identifier into one object, and renews the lease by writing
a heartbeat into another one every few seconds. A run that finds a lease takes it over after the
heartbeat has not changed for a minute, as after a preemption. Only changes are observed, so the
clocks of the machines need not agree.
"""

from collections.abc import Callable
import contextlib
import itertools
import threading
import time
import uuid

from dlx.errors import UserError

LEASE, HEARTBEAT = ".lease", ".heartbeat"  # Objects in the workdir.
HEARTBEAT_SECONDS = 10
TIMEOUT_SECONDS = 60  # Heartbeat timeout; single heartbeats may be late.
RELEASE_TIMEOUT_SECONDS = 10


class Lease:
  """The right to train in one workdir."""

  def __init__(self, files, root: str):
    """Does not acquire the lease yet.

    Args:
      files: the fsspec file system of the bucket.
      root: the path of the workdir in it.
    """
    self._files, self._root = files, root
    self._id = uuid.uuid4().hex.encode()
    self._released = threading.Event()
    self._renewal = threading.Thread(target=self._renew, daemon=True)

  def acquire(self, report: Callable[[str], None]) -> None:
    """Acquires the lease, after TIMEOUT_SECONDS if its owner died without releasing it.

    Args:
      report: called with one line before waiting for a heartbeat.

    Raises:
      UserError: another run holds the lease.
    """
    if not self._create():
      report(
          f"gs://{self._root} was not released by the previous run; waiting up to "
          f"{TIMEOUT_SECONDS} s for its heartbeat ..."
      )
      if not self._take_over():
        raise UserError(
            f"another run is training in workdir=gs://{self._root}; wait for it, stop it, or use "
            f"another workdir"
        )
    self._renewal.start()

  def held(self) -> bool:
    """Whether this run has the lease: no other run has taken it over after a timeout."""
    return self._read(LEASE) == self._id

  def release(self) -> None:
    """Deletes the lease. If the bucket does not answer in time, the next run waits."""
    self._released.set()
    if self._renewal.ident is not None:
      self._renewal.join(RELEASE_TIMEOUT_SECONDS)

  def _create(self) -> bool:
    """Creates the lease in one atomic operation; False if there is one."""
    try:
      self._write(LEASE, self._id, mode="create")
    except FileExistsError:
      return self.held()  # True where the first response was lost and the request repeated.
    return True

  def _take_over(self) -> bool:
    """Takes over the lease when it is released or times out; False if its owner is alive."""
    before, deadline = self._observe(), time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
      time.sleep(HEARTBEAT_SECONDS / 5)
      now = self._observe()
      if now[0] is None:
        return self._create()
      if now != before:
        return False
    self._write(LEASE, self._id)
    time.sleep(HEARTBEAT_SECONDS / 5)  # Of several that take over, the last writer has it.
    return self.held()

  def _observe(self) -> tuple[bytes | None, bytes | None]:
    return self._read(LEASE), self._read(HEARTBEAT)

  def _read(self, name: str) -> bytes | None:
    try:
      return self._files.cat_file(f"{self._root}/{name}")
    except FileNotFoundError:
      return None

  def _write(self, name: str, content: bytes, mode: str = "overwrite") -> None:
    # By default Google may serve objects of a public bucket from a cache for an hour.
    metadata = {"cache_control": "no-store"}
    self._files.pipe_file(f"{self._root}/{name}", content, mode=mode, fixed_key_metadata=metadata)

  def _renew(self) -> None:
    """Writes heartbeats until `release`, then deletes the lease."""
    for beat in itertools.count():
      with contextlib.suppress(Exception):  # A failed heartbeat is a late one.
        if not self.held():
          return
        self._write(HEARTBEAT, self._id + b" %d" % beat)
      if self._released.wait(HEARTBEAT_SECONDS):
        break
    for name in (HEARTBEAT, LEASE):
      with contextlib.suppress(Exception):
        if self.held():
          self._files.rm_file(f"{self._root}/{name}")
