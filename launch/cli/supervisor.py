"""Supervision of a training that is one of several processes."""

import contextlib
import ctypes
import os
import signal
import sys
import time


def supervise() -> None:
  """Goes on in a child process; this one waits for it and ends as it does.

  When another process dies, jax's runtime may abort this one from a thread in C++, which
  Python cannot catch. So the training is a child, and its parent says what has happened.
  Signals are handed on; a parent that is killed takes the child with it.
  """
  parent, child = os.getpid(), os.fork()
  if not child:
    os.setpgid(0, 0)  # Ctrl-C reaches the parent alone, which hands it on.
    if sys.platform == "linux":
      pr_set_pdeathsig = 1
      ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)
      if os.getppid() != parent:
        os._exit(1)
    sys.excepthook = _die
    return

  def hand_on(number, frame):
    del frame
    with contextlib.suppress(ProcessLookupError):
      os.kill(child, number)

  for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
    signal.signal(number, hand_on)
  code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
  if code == -signal.SIGABRT:
    from dlx.distributed.processes import PeerLost

    print(PeerLost(), file=sys.stderr)
    os._exit(1)
  os._exit(128 - code if code < 0 else code)


def _die(*exception) -> None:
  """Ends a process with a defect at once: at a usual end it would wait for the others."""
  sys.__excepthook__(*exception)
  sys.stderr.flush()
  os._exit(1)


def is_distributed(arguments: list[str]) -> bool:
  """Whether --distributed is among the arguments, before any flag is parsed."""
  forms = ("distributed", "distributed=true", "distributed=1")
  return any(argument.lstrip("-") in forms for argument in arguments)


def exit_together(code: int) -> None:
  """Ends this process; a failure is not kept from the others by waiting for them."""
  import jax

  sys.stdout.flush()
  if code in (1, 2) and jax.distributed.is_initialized():
    time.sleep(1)  # For the others to say the same, where all have failed alike.
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)
