"""Several processes as one run: how they find each other, and how they end.

On TPU slices, under SLURM and with Open MPI `--distributed` is enough: jax reads the
environment. Elsewhere each process is told all three:

  python -m launch.train --distributed --coordinator=HOST:PORT --num_processes=2 --process_id=0 ...
  python -m launch.train --distributed --coordinator=HOST:PORT --num_processes=2 --process_id=1 ...
"""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time

from absl import flags

FLAGS = flags.FLAGS
flags.DEFINE_bool("distributed", False, "Train with the other processes of this job.")
flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where jax cannot find out.")
flags.DEFINE_integer("num_processes", None, "How many processes there are.")
flags.DEFINE_integer("process_id", None, "Which one this is, from 0.")

SECONDS_TO_MEET = 60  # Until all processes must have started.
SECONDS_OF_SILENCE = 30  # After which a process is taken for dead.


def guard() -> None:
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
    from dlx.distributed.processes import ProcessLost

    print(ProcessLost(), file=sys.stderr)
    os._exit(1)
  os._exit(128 - code if code < 0 else code)


def _die(*exception) -> None:
  """Ends a process with a defect at once: at a usual end it would wait for the others."""
  sys.__excepthook__(*exception)
  sys.stderr.flush()
  os._exit(1)


def is_wanted(arguments: list[str]) -> bool:
  """Whether --distributed is among the arguments, before any flag is parsed."""
  forms = ("distributed", "distributed=true", "distributed=1")
  return any(argument.lstrip("-") in forms for argument in arguments)


def start() -> None:
  """Joins the other processes.

  Raises:
    UserError: they cannot be found, or the first one cannot be reached.
  """
  import jax

  from dlx.errors import UserError

  coordinator, count, number, devices = _explicit() or _detected()
  if count < 2:
    return
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise UserError(f"--coordinator={coordinator} is not HOST:PORT")
  if not 0 <= number < count:
    raise UserError(f"--process_id is {number}; use 0 to {count - 1}, each once")
  if number:
    _wait_for(host, int(port))
  else:
    _check_free(int(port))
  # It would take SIGTERM for itself, so that one that comes before the first step is lost.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
        coordinator, count, number, devices,
        initialization_timeout=SECONDS_TO_MEET,
        heartbeat_timeout_seconds=SECONDS_OF_SILENCE,
    )  # fmt: skip
  except RuntimeError as e:
    said = str(e).splitlines()[0]
    raise UserError(
        f"the {count} processes did not meet at {coordinator} within {SECONDS_TO_MEET} s ({said}); "
        f"start all of them"
    ) from None


def end(code: int) -> None:
  """Ends this process; a failure is not kept from the others by waiting for them."""
  import jax

  sys.stdout.flush()
  if code in (1, 2) and jax.distributed.is_initialized():
    time.sleep(1)  # For the others to say the same, where all have failed alike.
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


def _explicit() -> tuple[str, int, int, None] | None:
  """What the flags say; None when they say nothing."""
  from dlx.errors import UserError

  values = {name: FLAGS[name].value for name in ("coordinator", "num_processes", "process_id")}
  missing = [f"--{name}" for name, value in values.items() if value is None]
  if len(missing) == len(values):
    return None
  if missing:
    raise UserError(f"{' and '.join(missing)} is missing; give all three or none")
  return *values.values(), None


def _detected() -> tuple[str, int, int, list[int] | None]:
  """What jax finds in the environment of TPU slices, SLURM, Kubernetes and Open MPI."""
  # Not public; jax.distributed.initialize asks the same, but aborts where nobody answers.
  from jax._src import clusters

  from dlx.errors import UserError

  found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
      None, None, None, None, None, SECONDS_TO_MEET
  )
  if None in found[:3]:
    raise UserError(
        "--distributed: no TPU slice, SLURM, Kubernetes or Open MPI job is found here; name the "
        "processes by --coordinator=HOST:PORT --num_processes=N --process_id=I"
    )
  return found


def _wait_for(host: str, port: int) -> None:
  """Returns when somebody listens there: jax would abort where nobody does."""
  from dlx.errors import UserError

  end_of_patience, said = time.monotonic() + SECONDS_TO_MEET, ""
  while time.monotonic() < end_of_patience:
    try:
      with socket.create_connection((host, port), timeout=2):
        return
    except OSError as e:
      said = e.strerror or str(e)
    time.sleep(0.2)
  raise UserError(
      f"the coordinator {host}:{port} cannot be reached ({said}; tried for {SECONDS_TO_MEET} s); "
      f"is process 0 started there, and may this machine connect to that port?"
  )


def _check_free(port: int) -> None:
  from dlx.errors import UserError

  with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind(("", port))
    except OSError as e:
      raise UserError(f"port {port} of --coordinator cannot be used: {e.strerror}") from None
