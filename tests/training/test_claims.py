"""One run at a time has a bucket's folder, and a dead one does not keep it."""

import threading
import time

import fsspec
import pytest

from dlx.errors import UserError
from dlx.training import claims

BETWEEN, SILENCE = 0.05, 0.5


@pytest.fixture
def folder(tmp_path):
  """`folder()` is the claim of one more run in the same folder of a bucket in memory."""
  files, made = fsspec.filesystem("memory"), []
  root = f"mine/{tmp_path.name}"

  def one():
    made.append(claims.Claim(files, root, between=BETWEEN, silence=SILENCE))
    return made[-1]

  one.names = lambda: sorted(name.rpartition("/")[2] for name in files.find(f"/{root}"))
  one.write = lambda name, content: files.pipe_file(f"{root}/{name}", content)
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
  first.take()
  for _ in range(2):
    with pytest.raises(UserError, match="another run is training in --workdir=gs://mine/"):
      second.take()
    assert first.held() and not second.held()
  second.give_back()  # What it does not have.
  assert first.held()


def test_a_dead_run_is_outlived_after_the_silence_and_not_before(folder):
  folder.write(claims.CLAIM, b"dead")
  folder.write(claims.PULSE, b"dead 17")
  claim = folder()
  said, seconds = taken(claim)
  assert claim.held() and SILENCE <= seconds < 4 * SILENCE
  assert len(said) == 1 and "has not been given back" in said[0]


def test_a_run_that_was_silent_for_long_finds_that_it_has_lost_the_folder(folder, monkeypatch):
  first, second = folder(), folder()
  with monkeypatch.context() as suspended:
    suspended.setattr(first, "_keep_pulse", lambda: None)
    first.take()
  second.take()
  assert second.held() and not first.held()
  awake = threading.Thread(target=first._keep_pulse)
  awake.start()
  awake.join(20 * BETWEEN)
  assert not awake.is_alive()  # It ends by itself, without a word.
  first.give_back()
  assert second.held()


def test_a_claim_that_is_given_back_meanwhile_is_taken_then(folder):
  first, second = folder(), folder()
  first._create()  # Without a pulse.
  threading.Timer(0.1, first.give_back).start()
  _, seconds = taken(second)
  assert second.held() and seconds < SILENCE


def test_of_two_that_begin_at_once_one_is_refused(folder):
  both, outcomes = [folder(), folder()], []

  def take(claim):
    try:
      claim.take()
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


def test_the_pulse_goes_on_after_a_failure(folder, monkeypatch):
  claim, failed = folder(), threading.Event()
  claim.take()
  read = claim._read

  def once(name):
    monkeypatch.setattr(claim, "_read", read)
    failed.set()
    raise OSError("no network")

  monkeypatch.setattr(claim, "_read", once)
  assert failed.wait(5)
  before = folder.read(claims.PULSE)
  end = time.monotonic() + 5
  while folder.read(claims.PULSE) == before and time.monotonic() < end:
    time.sleep(BETWEEN)
  assert folder.read(claims.PULSE) != before
