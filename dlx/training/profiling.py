"""Profiles of some training steps, for TensorBoard's profile page or ui.perfetto.dev."""

import pathlib

import jax

from dlx.distributed import processes
from dlx.errors import UserError

FOLDER = "profile"
MAX_STEPS = 1000  # A trace takes megabytes per step, in memory until it is written.


def parse(span: str | None) -> range:
  """The steps of "START:STOP", without STOP; none for None.

  Raises:
    UserError: span has another form, or more than MAX_STEPS steps.
  """
  if span is None:
    return range(0)
  start, _, stop = span.partition(":")
  if not (start.isdecimal() and stop.isdecimal() and int(start) < int(stop)):
    raise UserError(f"profile: expected START:STOP with START < STOP, got {span!r}")
  if int(stop) - int(start) > MAX_STEPS:
    raise UserError(f"profile: expected at most {MAX_STEPS} steps, got {span}")
  return range(int(start), int(stop))


class Profiler:
  """Traces the compiled calls that contain any of the steps; a context manager.

  Tracing changes neither the results nor the grouping of steps into calls.
  """

  def __init__(self, steps: range, workdir: pathlib.Path):
    """Args: the steps; the run's folder, which gets a subfolder `profile`."""
    self._steps, self._folder, self._running = steps, workdir / FOLDER, False

  def __enter__(self):
    return self

  def __exit__(self, *exception):
    self._stop()

  def before(self, step: int, count: int) -> None:
    """Starts or stops the trace before a call of steps `step` to `step + count - 1`."""
    needed = processes.is_primary() and step < self._steps.stop and step + count > self._steps.start
    if needed and not self._running:
      jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
      self._running = True
    elif not needed:
      self._stop()

  def _stop(self):
    if self._running:
      jax.profiler.stop_trace()
      self._running = False
