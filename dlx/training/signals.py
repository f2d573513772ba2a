"""SIGTERM, SIGINT and SIGUSR1: recorded, for the training loop to poll."""

import signal
import sys
import threading

from dlx import exits


class Preempted(Exception):
  """The run was asked to stop, and has saved; the same command resumes it.

  Attributes:
    signal_number: a shell expects the exit code 128 + this.
  """

  def __init__(self, message: str, signal_number: int):
    super().__init__(message)
    self.signal_number = signal_number


class Preemption:
  """While entered, records the first of SIGNALS; a second SIGINT raises KeyboardInterrupt.

  In a program that SIGINT ends the process immediately. SLURM can send SIGUSR1 before a job's
  time limit. Python handles signals in its main thread only: in others nothing is recorded.

  Attributes:
    received: the number of the signal, or None.
  """

  # Windows has no SIGUSR1.
  SIGNALS = (signal.SIGTERM, signal.SIGINT, *filter(None, [getattr(signal, "SIGUSR1", None)]))

  def __init__(self):
    self.received: int | None = None
    self._previous = {}

  def __enter__(self):
    if exits.interrupted:  # And the KeyboardInterrupt was lost.
      raise KeyboardInterrupt
    in_main_thread = threading.current_thread() is threading.main_thread()
    for number in self.SIGNALS if in_main_thread else ():
      self._previous[number] = signal.signal(number, self._record)
    return self

  def __exit__(self, *exception):
    for number, handler in self._previous.items():
      signal.signal(number, handler)

  def _record(self, number, frame):
    del frame
    if self.received is not None and number == signal.SIGINT:
      if self._previous[number] is exits.interrupt:
        exits.end_immediately()
      raise KeyboardInterrupt
    self.received = number
    print(f"\n{signal.Signals(number).name}: saving, then stopping ...", file=sys.stderr)
