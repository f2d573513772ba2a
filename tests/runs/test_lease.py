"""One run at a time holds the lease on a workdir; the lease of a dead run expires."""

import threading
import time

import fsspec
import pytest

from dlx.errors import UserError
from dlx.runs import lease

HEARTBEAT, TIMEOUT = 0.05, 0.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """`folder()` is the lease of one more run on the same folder of an in-memory bucket."""
  monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", HEARTBEAT)
  monkeypatch.setattr(lease, "TIMEOUT_SECONDS", TIMEOUT)
  files, created = fsspec.filesystem("memory"), []
  root = f"mine/{tmp_path.name}"

  def new():
    created.append(lease.Lease(files, root))
    return created[-1]

  new.names = lambda: sorted(name.rpartition("/")[2] for name in files.find(f"/{root}"))
  new.write = lambda name, content: files.pipe_file(f"{root}/{name}", content)
  new.remove = lambda name: files.rm_file(f"{root}/{name}")
  new.read = lambda name: files.cat_file(f"{root}/{name}")
  yield new
  for held in created:
    held.release()


def acquired(new):
  """(the reported lines, the seconds until the lease was acquired)."""
  lines, start = [], time.monotonic()
  new.acquire(lines.append)
  return lines, time.monotonic() - start


def test_an_empty_folder_is_acquired_immediately_and_released_without_a_trace(folder):
  first = folder()
  assert acquired(first)[0] == [] and first.held()
  first.release()
  assert not first.held() and folder.names() == []
  assert acquired(folder())[0] == []


def test_a_second_run_is_refused_while_the_first_is_alive(folder):
  first, second = folder(), folder()
  first.acquire(print)
  for _ in range(2):
    with pytest.raises(UserError, match="another run is training in workdir=gs://mine/"):
      second.acquire(print)
    assert first.held() and not second.held()
  second.release()  # A lease that it does not hold.
  assert first.held()


def test_the_lease_of_a_dead_run_is_taken_over_after_the_timeout_and_not_before(folder):
  folder.write(lease.LEASE, b"dead")
  folder.write(lease.HEARTBEAT, b"dead 17")
  new = folder()
  lines, seconds = acquired(new)
  assert new.held() and TIMEOUT <= seconds < 4 * TIMEOUT
  assert len(lines) == 1 and "was not released" in lines[0]


def test_a_run_without_a_heartbeat_for_long_detects_that_it_lost_the_lease(folder, monkeypatch):
  first, second = folder(), folder()
  with monkeypatch.context() as asleep:
    read = first._read
    asleep.setattr(first, "_read", lambda name: time.sleep(3 * TIMEOUT) or read(name))
    first.acquire(print)
    second.acquire(print)
  assert second.held() and not first.held()
  first._renewal.join(20 * HEARTBEAT + 3 * TIMEOUT)
  assert not first._renewal.is_alive()  # It has stopped without an error.
  first.release()
  assert second.held()


def test_a_lease_that_is_released_while_another_run_waits_is_acquired_then(folder):
  folder.write(lease.LEASE, b"another")
  threading.Timer(0.1, folder.remove, [lease.LEASE]).start()
  new = folder()
  _, seconds = acquired(new)
  assert new.held() and seconds < TIMEOUT


@pytest.mark.parametrize("before", ["nobody", "a dead run"])
def test_of_two_simultaneous_runs_one_is_refused(folder, before):
  if before == "a dead run":
    folder.write(lease.LEASE, b"dead")
  both, outcomes = [folder(), folder()], []

  def acquire(new):
    try:
      new.acquire(print)
      outcomes.append("acquired")
    except UserError:
      outcomes.append("refused")

  threads = [threading.Thread(target=acquire, args=(new,)) for new in both]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(outcomes) == ["acquired", "refused"]
  assert sum(new.held() for new in both) == 1


def test_of_two_takeovers_the_earlier_writer_is_refused(folder, monkeypatch):
  folder.write(lease.LEASE, b"dead")
  new = folder()
  write = new._write

  def just_before_another(name, content, **options):
    write(name, content, **options)
    folder.write(lease.LEASE, b"another")

  monkeypatch.setattr(new, "_write", just_before_another)
  with pytest.raises(UserError, match="another run is training"):
    new.acquire(print)
  assert folder.read(lease.LEASE) == b"another"


def test_release_does_not_delete_the_lease_of_another_run(folder):
  new = folder()
  new.acquire(print)
  folder.write(lease.LEASE, b"another")
  new.release()
  assert folder.read(lease.LEASE) == b"another"


def test_heartbeats_continue_after_a_failure(folder, monkeypatch):
  new, failed = folder(), threading.Event()
  new.acquire(print)
  read = new._read

  def once(name):
    monkeypatch.setattr(new, "_read", read)
    failed.set()
    raise OSError("no network")

  monkeypatch.setattr(new, "_read", once)
  assert failed.wait(5)
  before = folder.read(lease.HEARTBEAT)
  deadline = time.monotonic() + 5
  while folder.read(lease.HEARTBEAT) == before and time.monotonic() < deadline:
    time.sleep(HEARTBEAT)
  assert folder.read(lease.HEARTBEAT) != before
