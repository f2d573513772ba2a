"""Supervises one process of a distributed run, so that a failure ends all of them with one line.

When a process dies, jax's runtime may abort the others from a C++ thread, which Python cannot
catch. So the program runs in a child process, and its parent reports the failure.
"""

from collections.abc import Sequence
import contextlib
import ctypes
import os
import signal
import sys
import time


def is_distributed(argv: Sequence[str]) -> bool:
  """Whether --distributed is among the arguments, before flags are parsed."""
  forms = ("distributed", "distributed=true", "distributed=1")
  return any(argument.lstrip("-") in forms for argument in argv)


def supervise() -> None:
  """Forks: returns in the child; the parent waits for it and exits with its exit code.

  The parent forwards SIGTERM, SIGINT and SIGUSR1. On Linux the child is killed with the parent.
  To be called before jax is imported.
  """
  parent, child = os.getpid(), os.fork()
  if not child:
    os.setpgid(0, 0)  # Ctrl-C reaches only the parent, which forwards it.
    if sys.platform == "linux":
      pr_set_pdeathsig = 1
      ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
      if os.getppid() != parent:
        os._exit(1)
    sys.excepthook = _exit_after_traceback
    return

  def forward(number, frame):
    del frame
    with contextlib.suppress(ProcessLookupError):
      os.kill(child, number)

  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, forward)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  if code == -signal.SIGABRT:
    from dlx.distributed.processes import PeerLost

    print(PeerLost(), file=sys.stderr)
    os._exit(1)
  os._exit(128 - code if code < 0 else code)


def exit_together(code: int) -> None:
  """Exits; after a failure without jax's shutdown barrier, which would wait for the others."""
  sys.stdout.flush()
  if code in (1, 2):
    import jax

    if jax.distributed.is_initialized():
      time.sleep(1)  # Where all processes fail alike, each has time to report it.
      sys.stderr.flush()
      os._exit(code)
  sys.exit(code)


def _exit_after_traceback(*exception) -> None:
  """Prints an uncaught exception and exits immediately: see `exit_together`."""
  sys.__excepthook__(*exception)
  sys.stderr.flush()
  os._exit(1)
