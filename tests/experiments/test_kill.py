"""Nothing is lost: a run killed at any moment and started again is the run left alone."""

import os
import pathlib
import random
import signal
import time

import pytest


class Trainer:
  """Starts a preset of an experiment in a workdir, and stops it when told."""

  def __init__(self, forks, runs, total_steps: int, experiment: str, preset: str, *flags: str):
    self._forks, self._runs, self.log = forks, runs, forks.log
    self._flags = [
        f"--config=experiments/{experiment}/config.py:{preset}",
        f"--config.training.total_steps={total_steps}",
        "--config.training.steps_per_call=2",
        "--config.training.save_every=6",
        "--config.training.eval_every=20",
        *flags,
    ]

  def start(self, workdir: pathlib.Path) -> int:
    return self._forks.start(*self._flags, f"--workdir={workdir}")

  def exit_code(self, child: int) -> int:
    return self._forks.exit_code(child)

  def train(self, workdir: pathlib.Path) -> None:
    assert self.exit_code(self.start(workdir)) == 0, self.log.read_text()

  def stop(self, workdir: pathlib.Path, number: int, after_step: int, delay: float) -> int:
    """Sends a signal `delay` seconds after this start has passed a step; the exit code."""
    runs = self._runs
    before = runs.inode(workdir)
    child = self.start(workdir)
    # A start begins a new metrics.jsonl, without the lines after its checkpoint.
    runs.wait_for(
        lambda: runs.inode(workdir) != before and runs.last_step(workdir) > after_step
    )
    time.sleep(delay)
    os.kill(child, number)
    return self.exit_code(child)


@pytest.fixture
def trainer_of(forks, runs):
  return lambda *args: Trainer(forks, runs, *args)


SMALL_TEXT = ("gru_lm", "debug", "--config.data.max_characters=20000")


def kill_often(trainer, runs, tmp_path, kills, total_steps):
  """SIGKILLs `kills` times at moments drawn over the run, then lets it end, and compares."""
  trainer.train(tmp_path / "alone")
  draw = random.Random(0)
  workdir = tmp_path / "killed"
  reached = []
  for i in range(kills):
    after = draw.randrange(i * total_steps // kills, (i + 1) * total_steps // kills - 4)
    code = trainer.stop(workdir, signal.SIGKILL, after, draw.uniform(0, 0.05))
    assert code == -signal.SIGKILL, trainer.log.read_text()
    reached.append(runs.last_step(workdir))
  assert reached[0] < total_steps
  trainer.train(workdir)
  runs.assert_same(workdir, tmp_path / "alone")


def test_killed_three_times_a_run_ends_as_one_left_alone(trainer_of, runs, tmp_path):
  trainer = trainer_of(60, *SMALL_TEXT)
  kill_often(trainer, runs, tmp_path, 3, 60)

  # SIGTERM: it saves, says so, and the same command ends as if nothing had been.
  workdir = tmp_path / "terminated"
  child = trainer.start(workdir)
  runs.wait_for(lambda: runs.last_step(workdir) > 10)
  began = time.monotonic()
  os.kill(child, signal.SIGTERM)
  assert trainer.exit_code(child) == 128 + signal.SIGTERM, trainer.log.read_text()
  assert time.monotonic() - began < 10
  said = trainer.log.read_text().splitlines()[-1]
  assert "saved at step" in said and "resumes" in said
  step = runs.final_state(workdir)[0][-1]
  assert 10 < step < 60 and said.startswith(f"saved at step {step};")
  trainer.train(workdir)
  # A checkpoint more or less on the way leaves no trace in what counts.
  runs.assert_same(workdir, tmp_path / "alone")


@pytest.mark.full
@pytest.mark.parametrize(
    "experiment",
    [
        SMALL_TEXT,
        ("resnet_cifar10", "debug"),
        ("transformer_sentiment", "debug"),
        ("transformer_sentiment", "debug_pretrain"),
    ],
    ids=["text", "images", "classes of texts", "masked texts"],
)
def test_killed_twenty_times_a_run_ends_as_one_left_alone(trainer_of, runs, tmp_path, experiment):
  kill_often(trainer_of(400, *experiment), runs, tmp_path, 20, 400)
