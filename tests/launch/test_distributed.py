"""How processes find each other, and what they say when they do not."""

import fcntl
import socket
import types

import pytest

from dlx.distributed import initialize
from dlx.errors import UserError

DEBUG = "--config=experiments/gru_lm/config.py:debug"
SLURM = {
    "SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "gpu[03-04]", "SLURM_NTASKS": "4",
    "SLURM_PROCID": "2", "SLURM_LOCALID": "0", "SLURM_STEP_NUM_NODES": "2",
}  # fmt: skip


@pytest.fixture
def flags(monkeypatch):
  """`flags(coordinator=..., ...)`: the values that dlx.distributed.initialize reads."""

  def use(**values):
    names = ("coordinator", "num_processes", "process_id")
    held = {name: types.SimpleNamespace(value=values.get(name)) for name in names}
    monkeypatch.setattr(distributed, "FLAGS", held)

  use()
  return use


def test_slurm_is_found(monkeypatch, flags):
  for name, value in SLURM.items():
    monkeypatch.setenv(name, value)
  coordinator, count, number, devices = initialize._detected()
  # jax's rule: the first node, and a port made of the job's number.
  assert coordinator == f"gpu03:{7 + 65535 - 2**12 + 1}"
  assert (count, number, devices) == (4, 2, [0])


def test_without_a_job_the_flags_are_named(flags):
  with pytest.raises(UserError, match="no TPU slice, SLURM, .*--coordinator=HOST:PORT"):
    initialize.start()


@pytest.mark.parametrize("values, message", [
    ({"coordinator": "a:1"}, "--num_processes and --process_id is missing"),
    ({"num_processes": 2, "process_id": 0}, "--coordinator is missing"),
    ({"coordinator": "a", "num_processes": 2, "process_id": 0}, "a is not HOST:PORT"),
    ({"coordinator": "a:b", "num_processes": 2, "process_id": 0}, "a:b is not HOST:PORT"),
    ({"coordinator": "a:1", "num_processes": 2, "process_id": 2}, "is 2; use 0 to 1"),
])  # fmt: skip
def test_flags_that_make_no_sense_are_refused(flags, values, message):
  flags(**values)
  with pytest.raises(UserError, match=message):
    initialize.start()


def test_a_single_process_joins_nobody(flags):
  flags(coordinator="nowhere:1", num_processes=1, process_id=0)
  initialize.start()


def test_a_coordinator_that_does_not_answer_is_named_in_time(flags, monkeypatch):
  monkeypatch.setattr(distributed, "SECONDS_TO_MEET", 1)
  with socket.socket() as taken:
    taken.bind(("localhost", 0))  # It is not listening.
    address = f"localhost:{taken.getsockname()[1]}"
    flags(coordinator=address, num_processes=2, process_id=1)
    with pytest.raises(UserError, match=f"{address} cannot be reached .*refused.* tried for 1 s"):
      initialize.start()


def test_a_port_in_use_is_named(flags):
  with socket.socket() as taken:
    taken.bind(("", 0))
    taken.listen()
    port = taken.getsockname()[1]
    flags(coordinator=f"localhost:{port}", num_processes=2, process_id=0)
    with pytest.raises(UserError, match=f"port {port} of --coordinator cannot be used"):
      initialize.start()


@pytest.mark.parametrize("argument, wanted", [
    ("--distributed", True), ("-distributed", True), ("--distributed=true", True),
    ("--nodistributed", False), ("--distributed=false", False), ("distributed.py", False),
])  # fmt: skip
def test_the_flag_is_seen_before_flags_are_parsed(argument, wanted):
  assert initialize.is_wanted(["train.py", argument]) == wanted


def test_processes_need_a_folder_that_all_see(programs):
  finished = programs("launch.train", DEBUG, "--distributed")
  assert finished.code == 2 and "--distributed needs --workdir" in finished.err, finished


def test_a_folder_is_trained_in_by_one_run_at_a_time(programs, tmp_path):
  short = (DEBUG, "--config.training.total_steps=6", f"--workdir={tmp_path / 'run'}")
  assert programs("launch.train", *short).code == 0
  before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.json*")}
  with (tmp_path / "run" / "lock").open("w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    finished = programs("launch.train", *short)
  assert finished.code == 2 and "another process is training in --workdir" in finished.err
  assert finished.err.count("\n") == 1
  assert {path: path.read_bytes() for path in before} == before
  assert programs("launch.train", *short).code == 0
