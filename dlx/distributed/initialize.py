"""Connects the processes of one run through `jax.distributed`.

On TPU slices, under SLURM and with Open MPI `initialize()` needs no arguments: jax reads the
environment. Elsewhere each process passes all three, for example with two processes

  initialize("HOST:PORT", num_processes=2, process_id=0)
  initialize("HOST:PORT", num_processes=2, process_id=1)
"""

import os
import socket
import time

import jax

from dlx.errors import UserError

CONNECT_TIMEOUT_SECONDS = 60  # All processes must have started by then.
HEARTBEAT_TIMEOUT_SECONDS = 30  # A process without a heartbeat for so long is considered dead.


def initialize(
    coordinator: str | None = None, num_processes: int | None = None, process_id: int | None = None
) -> None:
  """Connects to the other processes of this run; call it before any other use of jax's devices.

  Args:
    coordinator: HOST:PORT, on which process 0 listens.
    num_processes: number of processes of the run; with 1, nothing is done.
    process_id: index of this process, 0 <= process_id < num_processes.

  Raises:
    UserError: some of the arguments are missing or invalid; none are given, and jax detects no
      cluster; or the other processes cannot be reached.
  """
  given = {"coordinator": coordinator, "num_processes": num_processes, "process_id": process_id}
  missing = [name for name, value in given.items() if value is None]
  devices = None
  if len(missing) == len(given):
    coordinator, num_processes, process_id, devices = _detect()
  elif missing:
    raise UserError(f"missing {' and '.join(missing)}: give all of {', '.join(given)}, or none")
  if num_processes < 2:
    return
  host, _, port = coordinator.rpartition(":")
  if not host or not port.isdecimal():
    raise UserError(f"coordinator: expected HOST:PORT, got {coordinator}")
  if not 0 <= process_id < num_processes:
    raise UserError(f"process_id: expected 0 <= process_id < {num_processes}, got {process_id}")
  if process_id:
    _wait_for(host, int(port))
  else:
    _check_free(int(port))
  # The preemption service would handle SIGTERM itself and lose one before the first step.
  jax.config.update("jax_enable_preemption_service", False)
  try:
    jax.distributed.initialize(
        coordinator, num_processes, process_id, devices,
        initialization_timeout=CONNECT_TIMEOUT_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_TIMEOUT_SECONDS,
    )  # fmt: skip
  except RuntimeError as e:
    reason = str(e).splitlines()[0]
    raise UserError(
        f"not all of the {num_processes} processes connected to {coordinator} within "
        f"{CONNECT_TIMEOUT_SECONDS} s ({reason}); start all of them"
    ) from None


def _detect() -> tuple[str, int, int, list[int] | None]:
  """(coordinator, number of processes, index of this one, its devices), as jax detects them."""
  # Not public, but jax.distributed.initialize detects the cluster with the same function; called
  # here first because jax aborts the process when the coordinator it found cannot be reached.
  from jax._src import clusters

  try:
    found = clusters.ClusterEnv.auto_detect_unset_distributed_params(
        None, None, None, None, None, CONNECT_TIMEOUT_SECONDS
    )
  except (ValueError, KeyError) as e:  # A variable that is set by hand, or is missing.
    raise UserError(f"the variables of this cluster's job cannot be read: {e}") from None
  if None in found[:3]:
    if "SLURM_JOB_ID" in os.environ:
      raise UserError(
          "this is a SLURM job, but the process was not started by srun, which tells each process "
          "its index: put srun in front of the command"
      )
    raise UserError(
        "no TPU slice, SLURM, Kubernetes or Open MPI job was detected here; give "
        "coordinator=HOST:PORT, num_processes=N and process_id=I"
    )
  return found


def _wait_for(host: str, port: int) -> None:
  """Returns when the port accepts connections; jax would abort the process where none does."""
  deadline, reason = time.monotonic() + CONNECT_TIMEOUT_SECONDS, ""
  while time.monotonic() < deadline:
    try:
      with socket.create_connection((host, port), timeout=2):
        return
    except OSError as e:
      reason = e.strerror or str(e)
    time.sleep(0.2)
  raise UserError(
      f"the coordinator {host}:{port} cannot be reached ({reason}; tried for "
      f"{CONNECT_TIMEOUT_SECONDS} s); check that process 0 is running there and that this machine "
      f"may connect to that port"
  )


def _check_free(port: int) -> None:
  with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
      listener.bind(("", port))
    except OSError as e:
      raise UserError(f"coordinator: port {port} cannot be used: {e.strerror}") from None
