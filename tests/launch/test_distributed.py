"""How the processes of a run connect, and their error messages when they cannot."""

import fcntl
import socket

import pytest

from dlx.distributed import initialize as distributed
from dlx.errors import UserError
from launch.cli import supervisor

DEBUG = "--config=experiments/gru_lm/config.py:debug"
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_NODES": "2",
}  # fmt: skip


def test_a_slurm_job_is_detected(monkeypatch):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  coordinator, count, index, devices = distributed._detect()
  # jax's rule: the first node, and a port computed from the id of the job.
  assert coordinator == f"gpu03:{7 + 65535 - 2**12 + 1}"
  assert (count, index, devices) == (4, 2, [0])


def test_a_slurm_job_without_srun_is_told_to_use_it(monkeypatch):
  for name in ("SLURM_JOB_ID", "SLURM_NTASKS"):
    monkeypatch.setenv(name, SLURM[name])
  with pytest.raises(UserError, match="put srun in front"):
    distributed.initialize()


def test_malformed_variables_of_a_job_are_reported(monkeypatch):
  for name, value in (SLURM | {"SLURM_NTASKS": "2(x3)"}).items():
    monkeypatch.setenv(name, value)
  with pytest.raises(UserError, match="variables .* cannot be read: .*2\\(x3\\)"):
    distributed.initialize()


def test_outside_a_job_the_arguments_are_named():
  with pytest.raises(UserError, match="no TPU slice, SLURM, .*coordinator=HOST:PORT"):
    distributed.initialize()


@pytest.mark.parametrize("arguments, message", [
    ({"coordinator": "a:1"}, "missing num_processes and process_id"),
    ({"num_processes": 2, "process_id": 0}, "missing coordinator"),
    ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "expected HOST:PORT, got a$"),
    ({"coordinator": "a:b", "num_processes": 2, "process_id": 0}, "expected HOST:PORT, got a:b"),
    ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "process_id < 2, got 2"),
])  # fmt: skip
def test_missing_and_invalid_arguments_are_refused(arguments, message):
  with pytest.raises(UserError, match=message):
    distributed.initialize(**arguments)


def test_a_single_process_does_not_connect():
  distributed.initialize("nowhere:1", num_processes=1, process_id=0)


def test_an_unreachable_coordinator_is_reported_within_the_timeout(monkeypatch):
  monkeypatch.setattr(distributed, "CONNECT_TIMEOUT_SECONDS", 1)
  with socket.socket() as taken:
    taken.bind(("localhost", 0))  # It is not listening.
    address = f"localhost:{taken.getsockname()[1]}"
    with pytest.raises(UserError, match=f"{address} cannot be reached .*refused.* tried for 1 s"):
      distributed.initialize(address, num_processes=2, process_id=1)


def test_a_port_in_use_is_reported():
  with socket.socket() as taken:
    taken.bind(("", 0))
    taken.listen()
    port = taken.getsockname()[1]
    with pytest.raises(UserError, match=f"coordinator: port {port} cannot be used"):
      distributed.initialize(f"localhost:{port}", num_processes=2, process_id=0)


@pytest.mark.parametrize("argument, expected", [
    ("--distributed", True), ("-distributed", True), ("--distributed=true", True),
    ("--nodistributed", False), ("--distributed=false", False), ("distributed.py", False),
])  # fmt: skip
def test_the_distributed_flag_is_recognized_before_flags_are_parsed(argument, expected):
  assert supervisor.is_distributed(["train.py", argument]) == expected


def test_distributed_processes_need_a_shared_workdir(programs):
  finished = programs("launch.train", DEBUG, "--distributed")
  assert finished.code == 2 and "--distributed needs --workdir" in finished.err, finished


@pytest.mark.full
def test_one_run_at_a_time_trains_in_a_workdir(programs, tmp_path):
  short = (DEBUG, "--config.training.total_steps=6", f"--workdir={tmp_path / 'run'}")
  assert programs("launch.train", *short).code == 0
  before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.json*")}
  with (tmp_path / "run" / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    finished = programs("launch.train", *short)
  assert finished.code == 2 and "another process is training in workdir=" in finished.err
  assert finished.err.count("\n") == 1
  assert {path: path.read_bytes() for path in before} == before
  assert programs("launch.train", *short).code == 0
