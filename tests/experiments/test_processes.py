"""Several processes train the parameters of one; stopped in any way, they end and resume."""

import os
import pathlib
import random
import re
import shutil
import signal
import socket
import time

import jax
import numpy as np
import programs as programs_lib
import pytest

EXPERIMENTS = ("gru_lm", "resnet_cifar10", "transformer_sentiment")
SECONDS_TO_NOTICE = 90  # docs/reliability.md: a lost process is detected within this time.


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


class Job:
  """A config on `processes` processes with `devices` virtual devices each."""

  def __init__(self, programs, *flags: str, processes=1, devices=1, float64=False):
    self._programs, self._count, self._flags = programs, processes, flags
    self._options = {
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}", "float64": float64
    }  # fmt: skip
    self._running = []

  def start(self, workdir: pathlib.Path) -> list[int]:
    """The process ids, that of process 0 first."""
    flags, port = [*self._flags, f"--workdir={workdir}"], free_port()
    if self._count > 1:
      job = (f"--coordinator=localhost:{port}", f"--num_processes={self._count}")
      flags += ["--distributed", *job]
    self._running = [
        self._programs.start(
            "launch.train", *flags, *([f"--process_id={i}"] if self._count > 1 else []),
            **self._options,
        )
        for i in range(self._count)
    ]  # fmt: skip
    return [started.pid for started in self._running]

  def wait(self) -> tuple[list[int], str]:
    """(exit codes, the joined output)."""
    finished = [self._programs.wait(started) for started in self._running]
    return [f.code for f in finished], "".join(f.err for f in finished)

  def train(self, workdir: pathlib.Path) -> pathlib.Path:
    self.start(workdir)
    codes, output = self.wait()
    assert codes == [0] * self._count, output
    return workdir


ALIKE = ("gru_lm", 2, 2, 2)
GRID = [
    (experiment, processes, devices, fsdp)
    for experiment in EXPERIMENTS
    for processes in (1, 2, 4)
    for devices in (1, 2, 4)
    for fsdp in (1, 2, processes * devices)
    if 1 < processes * devices <= 8 and fsdp <= processes * devices
    and (experiment, processes, devices, fsdp) != ALIKE
]  # fmt: skip


def debug(experiment: str) -> str:
  return f"--config=experiments/{experiment}/config.py:debug"


def check_alike(programs, in_float64, workdir, experiment, processes, devices, fsdp):
  flags, one = in_float64(f"experiments.{experiment}:debug")
  flags = [*flags, f"--config.training.fsdp={fsdp}"]
  Job(programs, *flags, processes=processes, devices=devices, float64=True).train(workdir)
  assert programs_lib.distance(workdir, one) < 1e-10
  found, expected = map(programs_lib.validation, (workdir, one))
  assert found == pytest.approx(expected, rel=1e-9) and expected
  for name in ("curves.png", "metrics.jsonl", "run.json"):
    assert (workdir / name).exists(), name


@pytest.mark.full
def test_processes_train_the_parameters_of_one(programs, in_float64, tmp_path):
  check_alike(programs, in_float64, tmp_path / "run", *ALIKE)


@pytest.mark.full
@pytest.mark.parametrize("experiment, processes, devices, fsdp", GRID)
def test_any_number_of_processes_trains_the_parameters_of_one(
    programs, in_float64, tmp_path, experiment, processes, devices, fsdp
):
  check_alike(
      programs, in_float64, tmp_path / "run", experiment, processes, devices, fsdp
  )


@pytest.mark.full
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_first_step_in_float32_is_that_of_one_process(programs, tmp_path, experiment):
  flags = ("--config.training.total_steps=1", "--config.optimizer.warmup_steps=0")
  one = Job(programs, debug(experiment), *flags).train(tmp_path / "one")
  many = Job(programs, debug(experiment), *flags, processes=2, devices=2).train(tmp_path / "many")
  assert programs_lib.distance(many, one, np.float32) < 1e-5


LONG = ("--config.training.total_steps=60", "--config.training.steps_per_execution=2")


def stop(job: Job, workdir, who: int, number: int, after_step: int) -> tuple[list[int], str]:
  """Sends a signal to one process after a step; (all exit codes, the output)."""
  before = programs_lib.inode(workdir)
  children = job.start(workdir)
  programs_lib.wait_for(
      lambda: programs_lib.inode(workdir) != before
      and programs_lib.last_step(workdir) > after_step
  )
  os.kill(children[who], number)
  began = time.monotonic()
  finished = job.wait()
  assert time.monotonic() - began < SECONDS_TO_NOTICE
  return finished


def check_stopped(programs, folder, experiment, stops):
  """Stops a run by each (who, signal, after step), resumes it each time, and compares."""
  job, stopped_at = Job(programs, debug(experiment), *LONG, processes=2), set()
  uninterrupted, workdir = job.train(folder / "uninterrupted"), folder / "stopped"
  for who, number, after_step in stops:
    codes, said = stop(job, workdir, who, number, after_step)
    if number == signal.SIGTERM:
      assert codes == [128 + signal.SIGTERM] * 2, said
      saved = re.findall(r"saved at step (\d+)", said)
      assert len(saved) == 2 and len(set(saved)) == 1, said
      stopped_at.add(int(saved[0]))
    else:
      assert codes[who] == -number and codes[1 - who] == 1, said
      assert "another process of this run has ended or cannot be reached" in said
  programs_lib.assert_same_run(job.train(workdir), uninterrupted, stopped_at)


@pytest.mark.full
def test_a_signal_to_one_process_stops_all_and_the_same_command_resumes(programs, tmp_path):
  stops = [(1, signal.SIGTERM, 8), (0, signal.SIGKILL, 32)]
  check_stopped(programs, tmp_path, "gru_lm", stops)


def test_a_stop_before_the_first_step_ends_all(programs, tmp_path):
  job, workdir = Job(programs, debug("gru_lm"), *LONG, processes=2), tmp_path / "run"
  children = job.start(workdir)
  programs_lib.wait_for((workdir / "config.json").exists)
  os.kill(children[1], signal.SIGTERM)
  began = time.monotonic()
  codes, said = job.wait()
  assert time.monotonic() - began < SECONDS_TO_NOTICE
  assert codes == [1, 128 + signal.SIGTERM], said
  assert "another process of this run has ended or cannot be reached" in said
  assert programs_lib.last_step(workdir) == -1


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_ten_stops_change_nothing(
    programs, tmp_path, experiment, number
):
  draw = random.Random(0)
  stops = [(draw.randrange(2), number, draw.randrange(5 * i, 5 * i + 4)) for i in range(10)]
  check_stopped(programs, tmp_path, experiment, stops)


def check_resumed(programs, folder, processes, resumed):
  flags = ("--config.training.total_steps=10", "--config.training.fsdp=2")
  workdir = Job(programs, debug("gru_lm"), *flags, processes=processes).train(folder / "run")
  expected = programs_lib.state_of(workdir)
  for processes, devices in resumed:
    more = (
        "--config.training.total_steps=20", f"--config.training.fsdp={min(2, devices)}",
        # With a rate of almost 0, the ten more steps keep the restored params.
        "--config.optimizer.learning_rate=1e-300", "--override",
    )  # fmt: skip
    other = folder / f"{processes}x{devices}"
    shutil.copytree(workdir, other)
    Job(programs, debug("gru_lm"), *more, processes=processes, devices=devices).train(other)
    restored = programs_lib.state_of(other)
    assert int(restored["step"]) == 20
    jax.tree.map(np.testing.assert_array_equal, restored["params"], expected["params"])


@pytest.mark.full
def test_another_number_of_processes_and_devices_resumes_with_the_same_params(
    programs, tmp_path
):
  check_resumed(programs, tmp_path, 2, [(1, 4)])


@pytest.mark.full
def test_any_number_of_processes_and_devices_resumes_with_the_same_params(programs, tmp_path):
  check_resumed(programs, tmp_path, 4, [(1, 1), (2, 4)])


def test_processes_with_different_configs_name_the_difference(programs, tmp_path):
  port = free_port()
  started = [
      programs.start(
          "launch.train", "--config=experiments/gru_lm/config.py:debug",
          f"--workdir={tmp_path / 'run'}", "--distributed", f"--coordinator=localhost:{port}",
          "--num_processes=2", f"--process_id={i}", f"--config.optimizer.learning_rate={rate}",
      )
      for i, rate in enumerate((0.1, 0.2))
  ]  # fmt: skip
  for finished in map(programs.wait, started):
    assert finished.code == 2, finished
    assert "processes 0 and 1 differ in optimizer.learning_rate (0.1 and 0.2)" in finished.err
  assert not (tmp_path / "run").exists()
