"""How programs end when the user, or the reader of their output, leaves: a shell's exit codes."""

from collections.abc import Callable
import contextlib
import os
import signal
import sys
import threading

STOPPED = 128 + signal.SIGINT
READER_LEFT = 141  # 128 + SIGPIPE, which Windows does not have.

interrupted = False  # A KeyboardInterrupt that is raised in a callback can be lost.


def code_of(main: Callable[[], int]) -> int:
  """The exit code of a program; one line on stderr after Ctrl-C, none when the reader left.

  Args:
    main: returns the exit code; also raised as SystemExit, as argparse does.

  Returns:
    main's code, READER_LEFT (output piped into `head`), or STOPPED (Ctrl-C).
  """
  handle_interrupts(interrupt)
  try:
    try:
      code = main()
    except SystemExit as e:
      if isinstance(e.__context__, BrokenPipeError):  # From rich.
        return _reader_left()
      code = e.code or 0
    if sys.stdout:
      sys.stdout.flush()
    return code
  except BrokenPipeError:
    return _reader_left()
  except KeyboardInterrupt:
    handle_interrupts(lambda *_: os._exit(STOPPED))  # Exit handlers would show a traceback.
    print("stopped", file=sys.stderr)
    return STOPPED


def interrupt(number, frame) -> None:
  """The handler of SIGINT in programs: raises KeyboardInterrupt, and at a second one exits.

  It exits at the first one while a module is imported: packages catch what is raised there (a
  part of ml_dtypes does), and then fail in other ways.
  """
  del number
  global interrupted
  if interrupted or _is_importing(frame):
    end_immediately()
  interrupted = True
  raise KeyboardInterrupt


def _is_importing(frame) -> bool:
  while frame and not frame.f_code.co_filename.startswith("<frozen importlib"):
    frame = frame.f_back
  return frame is not None


def end_immediately() -> None:
  """Exits with one line, without waiting for threads or exit handlers."""
  with contextlib.suppress(OSError, RuntimeError):  # Within a write to the same stream.
    shown = "\x1b[?25h" if sys.stderr.isatty() else ""  # A progress bar hides the cursor.
    print(f"{shown}stopped", file=sys.stderr, flush=True)
  os._exit(STOPPED)


def handle_interrupts(handler: Callable) -> None:
  """Makes a function the handler of SIGINT, where Python has one: in its main thread."""
  if threading.current_thread() is threading.main_thread():
    signal.signal(signal.SIGINT, handler)


def _reader_left() -> int:
  """Discards what is still buffered: Python reports it as an error when it exits."""
  discarded = os.open(os.devnull, os.O_WRONLY)
  for stream in (sys.stdout, sys.stderr):
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Not a file.
      os.dup2(discarded, stream.fileno())
  return READER_LEFT
