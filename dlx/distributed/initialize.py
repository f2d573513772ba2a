"""Several processes as one run: how they find each other, and how they end.

On TPU slices, under SLURM and with Open MPI `--distributed` is enough: jax reads the
environment. Elsewhere each process is told all three:

  python -m launch.train --distributed --coordinator=HOST:PORT --num_processes=2 --process_id=0 ...
  python -m launch.train --distributed --coordinator=HOST:PORT --num_processes=2 --process_id=1 ...
"""

import socket
import time

SECONDS_TO_MEET = 60  # Until all processes must have started.
SECONDS_OF_SILENCE = 30  # After which a process is taken for dead.


def initialize(coordinator=None, num_processes=None, process_id=None) -> None:
  """Joins the other processes.

  Raises:
    UserError: they cannot be found, or the first one cannot be reached.
  """
  import jax

  from dlx.errors import UserError

  coordinator, count, number, devices = _explicit(coordinator, num_processes, process_id) or _detected()
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


def _explicit(coordinator, num_processes, process_id) -> tuple[str, int, int, None] | None:
  """What the flags say; None when they say nothing."""
  from dlx.errors import UserError

  values = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
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
