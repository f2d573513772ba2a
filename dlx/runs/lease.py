"""One run at a time trains in a folder of a bucket, which has no locks.

A run that trains there has a claim: an object with a name that no other run has. While it
lives it writes a second object, its pulse, every few seconds. A machine that is taken away
gives nothing back, but its pulse stops; who wants to train there after it waits until that
is sure. No clocks are compared: only whether the pulse changes while one looks.
"""

from collections.abc import Callable
import contextlib
import itertools
import threading
import time
import uuid

from dlx.errors import UserError

CLAIM, PULSE = ".claim", ".pulse"  # In the folder of the run.
SECONDS_BETWEEN_PULSES = 10
SECONDS_OF_SILENCE = 60  # After which a run is taken for dead; a pulse may be late.
SECONDS_TO_GIVE_BACK = 10


class Claim:
  """The right to train in one folder of a bucket."""

  def __init__(self, files, root: str):
    """Takes nothing yet.

    Args:
      files: the fsspec file system of the bucket.
      root: the folder in it.
    """
    self._files, self._root = files, root
    self._name = uuid.uuid4().hex.encode()
    self._ended = threading.Event()
    self._living = threading.Thread(target=self._live, daemon=True)

  def take(self, say: Callable[[str], None]) -> None:
    """Makes the folder this run's, at once or when the one before it turns out to be dead.

    Args:
      say: is given a line when there is something to wait for.

    Raises:
      UserError: another run trains there.
    """
    if not self._create():
      say(
          f"gs://{self._root} has not been given back by the run before; looking for up to "
          f"{SECONDS_OF_SILENCE} s whether it still trains ..."
      )
      if not self._outlive():
        raise UserError(
            f"another run is training in --workdir=gs://{self._root}; wait for it, stop it, or "
            f"name another folder"
        )
    self._living.start()

  def held(self) -> bool:
    """Whether no other run has taken the folder since, this one having been silent for long."""
    return self._read(CLAIM) == self._name

  def give_back(self) -> None:
    """Lets the next run begin at once; where the bucket does not answer soon, that one waits."""
    self._ended.set()
    if self._living.ident is not None:
      self._living.join(SECONDS_TO_GIVE_BACK)

  def _create(self) -> bool:
    """Whether there was no claim, in one operation with making this one."""
    try:
      self._write(CLAIM, self._name, mode="create")
    except FileExistsError:
      return self.held()  # It is this one where the first answer was lost, and it was asked again.
    return True

  def _outlive(self) -> bool:
    """Whether the claim that is there was given back, or its run is dead; then it is taken."""
    before, end = self._seen(), time.monotonic() + SECONDS_OF_SILENCE
    while time.monotonic() < end:
      time.sleep(SECONDS_BETWEEN_PULSES / 5)
      now = self._seen()
      if now[0] is None:
        return self._create()
      if now != before:
        return False
    self._write(CLAIM, self._name)
    time.sleep(SECONDS_BETWEEN_PULSES / 5)  # Of several that outlived it, the last one has it.
    return self.held()

  def _seen(self) -> tuple[bytes | None, bytes | None]:
    return self._read(CLAIM), self._read(PULSE)

  def _read(self, name: str) -> bytes | None:
    try:
      return self._files.cat_file(f"{self._root}/{name}")
    except FileNotFoundError:
      return None

  def _write(self, name: str, content: bytes, mode: str = "overwrite") -> None:
    # Else Google may serve an old one for an hour where everybody may read the bucket.
    fresh = {"cache_control": "no-store"}
    self._files.pipe_file(f"{self._root}/{name}", content, mode=mode, fixed_key_metadata=fresh)

  def _live(self) -> None:
    """Writes the pulse until the end, and then gives the folder back."""
    for beat in itertools.count():
      with contextlib.suppress(Exception):  # One that fails is one that is late.
        if not self.held():
          return
        self._write(PULSE, self._name + b" %d" % beat)
      if self._ended.wait(SECONDS_BETWEEN_PULSES):
        break
    for name in (PULSE, CLAIM):
      with contextlib.suppress(Exception):
        if self.held():
          self._files.rm_file(f"{self._root}/{name}")
