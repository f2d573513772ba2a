"""One run at a time has a bucket's folder, and a dead one does not keep it."""

import threading
import time

import fsspec
import pytest

from dlx.errors import UserError
from dlx.runs import lease

BETWEEN, SILENCE = 0.05, 0.5


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """`folder()` is the claim of one more run in the same folder of a bucket in memory."""
  monkeypatch.setattr(claims, "SECONDS_BETWEEN_PULSES", BETWEEN)
  monkeypatch.setattr(claims, "SECONDS_OF_SILENCE", SILENCE)
  files, made = fsspec.filesystem("memory"), []
  root = f"mine/{tmp_path.name}"

  def one():
    made.append(lease.Claim(files, root))
    return made[-1]

  one.names = lambda: sorted(name.rpartition("/")[2] for name in files.find(f"/{root}"))
  one.write = lambda name, content: files.pipe_file(f"{root}/{name}", content)
  one.remove = lambda name: files.rm_file(f"{root}/{name}")
  one.read = lambda name: files.cat_file(f"{root}/{name}")
  yield one
  for claim in made:
    claim.give_back()


def taken(claim):
  """What was said, and the seconds that it took."""
  said, began = [], time.monotonic()
  claim.take(said.append)
  return said, time.monotonic() - began


def test_an_empty_folder_is_taken_at_once_and_given_back_without_a_trace(folder):
  first = folder()
  assert taken(first)[0] == [] and first.held()
  first.give_back()
  assert not first.held() and folder.names() == []
  assert taken(folder())[0] == []


def test_a_second_run_is_refused_while_the_first_lives(folder):
  first, second = folder(), folder()
  first.take(print)
  for _ in range(2):
    with pytest.raises(UserError, match="another run is training in --workdir=gs://mine/"):
      second.take(print)
    assert first.held() and not second.held()
  second.give_back()  # What it does not have.
  assert first.held()


def test_a_dead_run_is_outlived_after_the_silence_and_not_before(folder):
  folder.write(lease.CLAIM, b"dead")
  folder.write(lease.PULSE, b"dead 17")
  claim = folder()
  said, seconds = taken(claim)
  assert claim.held() and SILENCE <= seconds < 4 * SILENCE
  assert len(said) == 1 and "has not been given back" in said[0]


def test_a_run_that_was_silent_for_long_finds_that_it_has_lost_the_folder(folder, monkeypatch):
  first, second = folder(), folder()
  with monkeypatch.context() as asleep:
    read = first._read
    asleep.setattr(first, "_read", lambda name: time.sleep(3 * SILENCE) or read(name))
    first.take(print)
    second.take(print)
  assert second.held() and not first.held()
  first._living.join(20 * BETWEEN + 3 * SILENCE)
  assert not first._living.is_alive()  # It has ended by itself, without a word.
  first.give_back()
  assert second.held()


def test_a_claim_that_is_given_back_meanwhile_is_taken_then(folder):
  folder.write(lease.CLAIM, b"another")
  threading.Timer(0.1, folder.remove, [lease.CLAIM]).start()
  claim = folder()
  _, seconds = taken(claim)
  assert claim.held() and seconds < SILENCE


@pytest.mark.parametrize("before", ["nobody", "a dead run"])
def test_of_two_that_begin_at_once_one_is_refused(folder, before):
  if before == "a dead run":
    folder.write(lease.CLAIM, b"dead")
  both, outcomes = [folder(), folder()], []

  def take(claim):
    try:
      claim.take(print)
      outcomes.append("taken")
    except UserError:
      outcomes.append("refused")

  threads = [threading.Thread(target=take, args=(claim,)) for claim in both]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert sorted(outcomes) == ["refused", "taken"]
  assert sum(claim.held() for claim in both) == 1


def test_of_two_that_outlived_a_dead_run_the_one_that_wrote_first_is_refused(folder, monkeypatch):
  folder.write(lease.CLAIM, b"dead")
  claim = folder()
  write = claim._write

  def just_before_another(name, content, **options):
    write(name, content, **options)
    folder.write(lease.CLAIM, b"another")

  monkeypatch.setattr(claim, "_write", just_before_another)
  with pytest.raises(UserError, match="another run is training"):
    claim.take(print)
  assert folder.read(lease.CLAIM) == b"another"


def test_a_run_gives_back_nothing_that_another_has_taken(folder):
  claim = folder()
  claim.take(print)
  folder.write(lease.CLAIM, b"another")
  claim.give_back()
  assert folder.read(lease.CLAIM) == b"another"


def test_the_pulse_goes_on_after_a_failure(folder, monkeypatch):
  claim, failed = folder(), threading.Event()
  claim.take(print)
  read = claim._read

  def once(name):
    monkeypatch.setattr(claim, "_read", read)
    failed.set()
    raise OSError("no network")

  monkeypatch.setattr(claim, "_read", once)
  assert failed.wait(5)
  before = folder.read(lease.PULSE)
  end = time.monotonic() + 5
  while folder.read(lease.PULSE) == before and time.monotonic() < end:
    time.sleep(BETWEEN)
  assert folder.read(lease.PULSE) != before
