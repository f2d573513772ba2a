"""A run that is killed at any moment and started again is the uninterrupted run."""

import importlib
import os
import pathlib
import random
import signal
import time

import kill_points
import programs as programs_lib
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
NAMES = sorted(path.parent.name for path in ROOT.glob("experiments/*/config.py"))
DEBUG = [
    f"experiments.{name}:{preset}"
    for name in NAMES
    for preset in importlib.import_module(f"experiments.{name}.config").PRESETS
    if preset.startswith("debug")
]
# Of some hundred points of a preset; all of them would take an hour. Each preset has others.
POINTS = 8


class Trainer:
  """Starts a preset of an experiment in a workdir, and stops it."""

  def __init__(self, programs, full: bool, total_steps: int, experiment: str, *flags: str):
    self._programs, self._full = programs, full
    self._flags = [
        f"--config=experiments/{experiment}/config.py:debug",
        f"--config.training.total_steps={total_steps}",
        "--config.training.steps_per_execution=2",
        "--config.training.save_every=6",
        "--config.training.eval_every=20",
        *flags,
    ]

  def start(self, workdir: pathlib.Path):
    flags = [*self._flags, f"--workdir={workdir}"]
    return self._programs.start("launch.train", *flags, full=self._full)

  def wait(self, started):
    return self._programs.wait(started)

  def train(self, workdir: pathlib.Path) -> None:
    finished = self.wait(self.start(workdir))
    assert finished.code == 0, finished

  def stop(self, workdir: pathlib.Path, number: int, after_step: int, delay: float):
    """Sends a signal `delay` seconds after this start has passed a step."""
    before = programs_lib.inode(workdir)
    started = self.start(workdir)
    # A start begins a new metrics.jsonl, without the lines after its checkpoint.
    programs_lib.wait_for(
        lambda: programs_lib.inode(workdir) != before
        and programs_lib.last_step(workdir) > after_step
    )
    time.sleep(delay)
    os.kill(started.pid, number)
    return self.wait(started)


def kill_often(trainer, tmp_path, kills, total_steps):
  """SIGKILLs `kills` times at moments drawn over the run, then lets it end, and compares."""
  trainer.train(tmp_path / "uninterrupted")
  draw = random.Random(0)
  workdir = tmp_path / "killed"
  reached = []
  for i in range(kills):
    after = draw.randrange(i * total_steps // kills, (i + 1) * total_steps // kills - 4)
    finished = trainer.stop(workdir, signal.SIGKILL, after, draw.uniform(0, 0.05))
    assert finished.code == -signal.SIGKILL, finished
    reached.append(programs_lib.last_step(workdir))
  assert reached[0] < total_steps
  trainer.train(workdir)
  programs_lib.assert_same_run(workdir, tmp_path / "uninterrupted")


SMALL_TEXT = ("gru_lm", "--config.data.max_characters=20000")


@pytest.mark.full
def test_three_kills_and_a_stop_change_nothing(programs, tmp_path):
  trainer = Trainer(programs, False, 60, *SMALL_TEXT)
  kill_often(trainer, tmp_path, 3, 60)

  # SIGTERM saves and reports the step, and the same command resumes.
  workdir = tmp_path / "terminated"
  began = time.monotonic()
  finished = trainer.stop(workdir, signal.SIGTERM, 10, 0)
  assert finished.code == 128 + signal.SIGTERM, finished
  assert time.monotonic() - began < programs_lib.SECONDS
  step = programs_lib.saved_steps(workdir)[0][-1]
  assert 10 < step < 60
  assert finished.err.splitlines()[-1] == f"saved at step {step}; the same command resumes"
  trainer.train(workdir)
  programs_lib.assert_same_run(workdir, tmp_path / "uninterrupted", stopped_at={step})


@pytest.mark.full
@pytest.mark.parametrize(
    "experiment",
    [SMALL_TEXT, ("resnet_cifar10",), ("transformer_sentiment",), ("masked_lm",), ("vae",)],
    ids=lambda flags: flags[0],
)
def test_twenty_kills_change_nothing(programs, tmp_path, experiment):
  kill_often(Trainer(programs, True, 400, *experiment), tmp_path, 20, 400)


@pytest.mark.full
@pytest.mark.parametrize("preset", DEBUG)
def test_a_kill_at_a_call_that_changes_the_folder_loses_nothing(
    programs, trained, flags_of, tmp_path, preset
):
  def choose(points):
    every = len(points) // POINTS
    return points[DEBUG.index(preset) * every // len(DEBUG) :: every][:POINTS]

  command = kill_points.command(programs, *flags_of(preset))
  assert kill_points.check(command, trained(preset), tmp_path, choose) == POINTS
