"""Several processes train what one trains; stopped in any way, they end, and resume."""

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
import pytest

from dlx.runs import metric_log
from dlx.training.state import path_name

EXPERIMENTS = {
    "text": ("gru_lm", "--config.data.max_characters=20000"),
    "images": ("resnet_cifar10",),
    "texts": ("transformer_sentiment",),
}
SECONDS_TO_NOTICE = 90  # The README says that a lost process is noticed within so many.


def free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]


class Job:
  """A debug preset on `processes` processes with `devices` virtual devices each."""

  def __init__(self, forks, experiment: str, *flags: str, processes=1, devices=1, float64=False):
    name, *own = EXPERIMENTS[experiment]
    self._forks, self._count = forks, processes
    self._flags = [f"--config=experiments/{name}/config.py:debug", *own, *flags]
    if float64 and experiment != "text":
      self._flags.append("--config.model.dtype=float64")
    environment = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}"}
    self._options = {"environment": environment, "float64": float64}
    self._running = []

  def start(self, workdir: pathlib.Path) -> list[int]:
    """The process ids, the first process first."""
    flags, port = [*self._flags, f"--workdir={workdir}"], free_port()
    if self._count > 1:
      job = (f"--coordinator=localhost:{port}", f"--num_processes={self._count}")
      flags += ["--distributed", *job]
    self._running = [
        self._forks.start(
            *flags, *([f"--process_id={i}"] if self._count > 1 else []), **self._options
        )
        for i in range(self._count)
    ]
    return self._running

  def exit_codes(self) -> list[int]:
    return [self._forks.exit_code(child) for child in self._running]

  def train(self, workdir: pathlib.Path) -> pathlib.Path:
    self.start(workdir)
    assert self.exit_codes() == [0] * self._count, self._forks.log.read_text()
    return workdir


def distance(runs, workdir: pathlib.Path, other: pathlib.Path, dtype=np.float64) -> float:
  """Between the last params, over their norm.

  In float32 without the biases of keys: they shift all scores of a query alike, so that their
  gradient is rounding alone, which Adam makes steps of full length of.
  """
  jax.config.update("jax_enable_x64", True)  # Or float64 is read as float32; in all threads.
  try:
    flat = [
        np.concatenate([
            np.ravel(x)
            for path, x in jax.tree.leaves_with_path(runs.final_state(w)[2]["params"])
            if dtype == np.float64 or not path_name(path).endswith("key.bias")
        ])
        for w in (workdir, other)
    ]
  finally:
    jax.config.update("jax_enable_x64", False)
  assert flat[0].dtype == dtype
  return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def validation(workdir: pathlib.Path) -> dict[str, float]:
  """The last figures of the validation split."""
  lines = metric_log.read(workdir / "metrics.jsonl")
  names = {name for line in lines for name in line if name.startswith("validation/")}
  return {name: [line[name] for line in lines if name in line][-1] for name in names}


ALIKE = [
    ("text", 2, 2, 2),
    ("images", 2, 1, 1),
    ("texts", 2, 1, 2),
]
GRID = [
    (experiment, processes, devices, fsdp)
    for experiment in EXPERIMENTS
    for processes in (1, 2, 4)
    for devices in (1, 2, 4)
    for fsdp in (1, 2, processes * devices)
    if 1 < processes * devices <= 8 and fsdp <= processes * devices
    and (experiment, processes, devices, fsdp) not in ALIKE
]  # fmt: skip


def check_alike(forks, runs, folder, experiment, processes, devices, fsdp):
  flags = ("--config.training.total_steps=20", "--config.training.save_every=20")
  one = Job(forks, experiment, *flags, float64=True).train(folder / "one")
  sharded = f"--config.training.fsdp={fsdp}"
  many = {"processes": processes, "devices": devices, "float64": True}
  other = Job(forks, experiment, *flags, sharded, **many).train(folder / "many")
  assert distance(runs, other, one) < 1e-10
  validated, expected = (validation(workdir) for workdir in (other, one))
  assert validated == pytest.approx(expected, rel=1e-9) and len(expected) > 0
  for name in ("curves.png", "metrics.jsonl", "run.json"):
    assert (other / name).exists(), name


@pytest.mark.parametrize("experiment, processes, devices, fsdp", ALIKE)
def test_processes_train_what_one_process_trains(
    forks, runs, tmp_path, experiment, processes, devices, fsdp
):
  check_alike(forks, runs, tmp_path, experiment, processes, devices, fsdp)


@pytest.mark.full
@pytest.mark.parametrize("experiment, processes, devices, fsdp", GRID)
def test_any_number_of_processes_trains_what_one_trains(
    forks, runs, tmp_path, experiment, processes, devices, fsdp
):
  check_alike(forks, runs, tmp_path, experiment, processes, devices, fsdp)


@pytest.mark.full
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_the_first_step_in_float32_is_that_of_one_process(forks, runs, tmp_path, experiment):
  flags = ("--config.training.total_steps=1", "--config.optimizer.warmup_steps=0")
  one = Job(forks, experiment, *flags).train(tmp_path / "one")
  many = Job(forks, experiment, *flags, processes=2, devices=2).train(tmp_path / "many")
  assert distance(runs, many, one, np.float32) < 1e-5


LONG = ("--config.training.total_steps=60", "--config.training.steps_per_call=2")


def stop(job: Job, runs, workdir, who: int, number: int, after_step: int) -> list[int]:
  """Sends a signal to one process when the run has passed a step; all exit codes."""
  before = runs.inode(workdir)
  children = job.start(workdir)
  runs.wait_for(lambda: runs.inode(workdir) != before and runs.last_step(workdir) > after_step)
  os.kill(children[who], number)
  began = time.monotonic()
  codes = job.exit_codes()
  assert time.monotonic() - began < SECONDS_TO_NOTICE
  return codes


def check_stopped(forks, runs, folder, experiment, stops):
  """Stops a run by each (who, signal, after step), resumes it each time, and compares."""
  job, stopped_at = Job(forks, experiment, *LONG, processes=2), set()
  alone, workdir = job.train(folder / "alone"), folder / "stopped"
  for who, number, after_step in stops:
    log_before = len(forks.log.read_text())
    codes = stop(job, runs, workdir, who, number, after_step)
    said = forks.log.read_text()[log_before:]
    if number == signal.SIGTERM:
      assert codes == [128 + signal.SIGTERM] * 2, said
      saved = re.findall(r"saved at step (\d+)", said)
      assert len(saved) == 2 and len(set(saved)) == 1, said
      stopped_at.add(int(saved[0]))
    else:
      assert codes[who] == -number and codes[1 - who] == 1, said
      assert "another process of this run has ended or cannot be reached" in said
  runs.assert_same(job.train(workdir), alone, stopped_at)


def test_one_process_stopped_stops_all_and_the_same_command_resumes(forks, runs, tmp_path):
  stops = [(1, signal.SIGTERM, 8), (1, signal.SIGKILL, 24), (0, signal.SIGKILL, 40)]
  check_stopped(forks, runs, tmp_path, "text", stops)


def test_a_stop_before_the_first_step_ends_all_at_once(forks, runs, tmp_path):
  job, workdir = Job(forks, "text", *LONG, processes=2), tmp_path / "run"
  children = job.start(workdir)
  runs.wait_for((workdir / "config.json").exists)
  os.kill(children[1], signal.SIGTERM)
  began = time.monotonic()
  codes = job.exit_codes()
  said = forks.log.read_text()
  assert time.monotonic() - began < SECONDS_TO_NOTICE
  assert codes == [1, 128 + signal.SIGTERM], said
  assert "another process of this run has ended or cannot be reached" in said
  assert runs.last_step(workdir) == -1


@pytest.mark.full
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_stopped_ten_times_processes_end_as_if_left_alone(
    forks, runs, tmp_path, experiment, number
):
  draw = random.Random(0)
  stops = [(draw.randrange(2), number, draw.randrange(5 * i, 5 * i + 4)) for i in range(10)]
  check_stopped(forks, runs, tmp_path, experiment, stops)


def test_another_number_of_processes_goes_on_with_the_same_params(forks, runs, tmp_path):
  flags = ("--config.training.total_steps=10", "--config.training.fsdp=2")
  workdir = Job(forks, "text", *flags, processes=4).train(tmp_path / "run")
  expected = runs.final_state(workdir)[2]
  for processes, devices in ((1, 1), (2, 4)):
    more = (
        "--config.training.total_steps=20", f"--config.training.fsdp={min(2, devices)}",
        # A rate of nothing: the ten more steps save what was restored.
        "--config.optimizer.learning_rate=1e-300", "--override",
    )  # fmt: skip
    other = tmp_path / f"{processes}x{devices}"
    shutil.copytree(workdir, other)
    Job(forks, "text", *more, processes=processes, devices=devices).train(other)
    restored = runs.final_state(other)[2]
    assert int(restored["step"]) == 20
    jax.tree.map(np.testing.assert_array_equal, restored["params"], expected["params"])


def test_processes_that_were_started_otherwise_say_what_differs(forks, tmp_path):
  port = free_port()
  children = [
      forks.start(
          "--config=experiments/gru_lm/config.py:debug", f"--workdir={tmp_path / 'run'}",
          "--distributed", f"--coordinator=localhost:{port}", "--num_processes=2",
          f"--process_id={i}", f"--config.optimizer.learning_rate={rate}",
      )
      for i, rate in enumerate((0.1, 0.2))
  ]  # fmt: skip
  assert [forks.exit_code(child) for child in children] == [2, 2]
  differs = "optimizer.learning_rate (0.1 there, 0.2 here)"
  message = f"process 1 was started otherwise than process 0: {differs}"
  assert forks.log.read_text().count(message) == 2
  assert not (tmp_path / "run").exists()
