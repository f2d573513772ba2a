"""SIGTERM, SIGINT and SIGUSR1 as a question that the loop asks between calls."""

import signal
import sys


class Interrupted(Exception):
  """The run was asked to stop, and has saved; the same command resumes it.

  Attributes:
    signal_number: a shell expects the exit code 128 + this.
  """

  def __init__(self, message: str, signal_number: int):
    super().__init__(message)
    self.signal_number = signal_number


class Interrupts:
  """While entered, remembers the first of SIGNALS; a second SIGINT acts at once.

  SLURM can be told to send SIGUSR1 before a job's time is up.
  """

  SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)

  def __init__(self):
    self.received: int | None = None
    self._previous = {}

  def __enter__(self):
    for number in self.SIGNALS:
      self._previous[number] = signal.signal(number, self._remember)
    return self

  def __exit__(self, *exception):
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _remember(self, number, frame):
    del frame
    if self.received is not None and number == signal.SIGINT:
      raise KeyboardInterrupt
    self.received = number
    print(f"\n{signal.Signals(number).name}: saving, then stopping ...", file=sys.stderr)
