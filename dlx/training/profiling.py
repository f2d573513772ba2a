"""A trace of some steps of a run, for TensorBoard's profile page or ui.perfetto.dev."""

import pathlib

import jax

from dlx.distributed import processes
from dlx.errors import UserError

FOLDER = "profile"


def parse(span: str | None) -> range:
  """The steps of "START:STOP", STOP not among them; none for None.

  Raises:
    UserError: it is something else.
  """
  if span is None:
    return range(0)
  start, _, stop = span.partition(":")
  if not (start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
    raise UserError(f"--profile={span} is not START:STOP, two steps with START below STOP")
  return range(int(start), int(stop))


class Profiler:
  """Traces the compiled calls that hold any of the steps; a context manager.

  A trace changes neither what is computed nor which steps share a call.
  """

  def __init__(self, span: str | None, workdir: pathlib.Path):
    """Args: as for `parse`; the run's folder, which gets a folder `profile`."""
    self._steps, self._folder, self._running = parse(span), workdir / FOLDER, False

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._stop()

  def before(self, step: int, count: int) -> None:
    """Begins or ends the trace, when the next call runs steps `step` to `step + count - 1`."""
    wanted = processes.is_first() and step < self._steps.stop and step + count > self._steps.start
    if wanted and not self._running:
      jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
      self._running = True
    elif not wanted:
      self._stop()

  def _stop(self):
    if self._running:
      jax.profiler.stop_trace()
      self._running = False
