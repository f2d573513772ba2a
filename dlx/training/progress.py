"""Progress of long work: a bar on a terminal, a line every few seconds elsewhere."""

import sys
import time

from rich import console as rich_console
from rich import progress as rich_progress

from dlx.distributed import processes


def duration(seconds: float) -> str:
  """Seconds as h:mm:ss or m:ss."""
  minutes, rest = divmod(int(seconds), 60)
  hours, minutes = divmod(minutes, 60)
  return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
  """Shows step, metrics, steps/s and the remaining time; a context manager.

  On a terminal it is one bar; in a log file, at most one line every `log_seconds`. Only the
  primary process shows it. `unit` names what is counted. The rate is that of all updates after
  the first one, which includes the time of compilation.
  """

  def __init__(
      self, total_steps: int, first_step: int, *, log_seconds: float = 15.0, unit: str = "step"
  ):
    self._total, self._first, self._log_seconds = total_steps, first_step, log_seconds
    self._unit = unit
    now = self._last_line = time.monotonic()
    self._texts, self._pending = {}, None
    self._began, self._rate = (first_step, now), 0.0  # Where the rate is measured from.
    self._bar, self._shown = None, processes.is_primary()
    console = rich_console.Console(file=sys.stderr)
    if console.is_terminal and self._shown:
      self._bar = rich_progress.Progress(
          rich_progress.TextColumn(f"{unit} {{task.completed}}/{{task.total}}"),
          rich_progress.BarColumn(),
          rich_progress.TextColumn("{task.fields[text]}"),
          rich_progress.TimeRemainingColumn(),
          console=console,
      )
      self._task = self._bar.add_task("", total=total_steps, completed=first_step, text="")

  def __enter__(self):
    if self._bar:
      self._bar.start()
    return self

  def __exit__(self, *exception):
    if self._bar:
      self._bar.stop()
    elif self._pending:
      self._write(self._pending)

  def update(self, step: int, values: dict[str, float], *, always: bool = False) -> None:
    """Shows that `step` is reached; `always` prints a line even outside a terminal.

    The line of the last step is printed when nothing can change it any more.
    """
    if not self._shown:
      return
    now = time.monotonic()
    self._texts.update({name: f"{name} {value:.4g}" for name, value in values.items()})
    rate = self._measure(step, now)
    rates = [f"{rate:.3g} {self._unit}s/s"] if self._total else []  # A fit has no steps.
    text = "  ".join([*self._texts.values(), *rates])
    if self._bar:
      self._bar.update(self._task, completed=step, text=text)
    elif always or now - self._last_line >= self._log_seconds:
      self._last_line = now
      left = duration((self._total - step) / max(rate, 1e-9))
      line = f"{self._unit} {step}/{self._total}  {text}  {left} left" if rates else text
      self._pending = line if step == self._total and not always else None
      if not self._pending:
        self._write(line)

  def _measure(self, step: int, now: float) -> float:
    first, began = self._began
    if step > first:
      self._rate = (step - first) / max(now - began, 1e-9)
      if first == self._first:
        self._began = step, now
    return self._rate

  @staticmethod
  def _write(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

  def print(self, line: str) -> None:
    """Prints a line above the bar."""
    if not self._shown:
      return
    if self._bar:
      self._bar.console.print(line, highlight=False, markup=False)
    else:
      self._write(line)
