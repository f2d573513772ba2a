"""Nothing is lost: a run killed at any moment and started again is the run left alone."""

import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from dlx.training.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 120  # Any wait longer than this is a failure.
# What is not the same in two runs.
TIMES = ("run.json", "timings.jsonl")


class Trainer:
  """Starts a preset of an experiment in a workdir, and stops it when told."""

  def __init__(
      self, folder: pathlib.Path, total_steps: int, experiment: str, preset: str, *flags: str
  ):
    self.log = folder / "log"
    self._flags = [
        f"--config=experiments/{experiment}/config.py:{preset}",
        f"--config.training.total_steps={total_steps}",
        "--config.training.steps_per_call=2",
        "--config.training.save_every=6",
        "--config.training.eval_every=20",
        *flags,
    ]
    self._server = subprocess.Popen(
        [sys.executable, str(pathlib.Path(__file__).with_name("forks.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "",
            # Compiling is most of a short run's time, and the same in each start.
            "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        },
    )

  def start(self, workdir: pathlib.Path) -> int:
    request = {"args": [*self._flags, f"--workdir={workdir}"], "log": str(self.log)}
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    return int(self._server.stdout.readline())

  def exit_code(self) -> int:
    return int(self._server.stdout.readline())

  def train(self, workdir: pathlib.Path) -> None:
    self.start(workdir)
    assert self.exit_code() == 0, self.log.read_text()

  def stop(self, workdir: pathlib.Path, number: int, after_step: int, delay: float) -> int:
    """Sends a signal `delay` seconds after this start has passed a step; the exit code."""
    before = inode(workdir)
    child = self.start(workdir)
    # A start begins a new metrics.jsonl, without the lines after its checkpoint.
    wait_for(lambda: inode(workdir) != before and last_step(workdir) > after_step)
    time.sleep(delay)
    os.kill(child, number)
    return self.exit_code()

  def close(self) -> None:
    self._server.stdin.close()
    self._server.wait(SECONDS)


def wait_for(condition) -> None:
  end = time.monotonic() + SECONDS
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.001)


def inode(workdir: pathlib.Path) -> int | None:
  path = workdir / "metrics.jsonl"
  return path.stat().st_ino if path.exists() else None


def last_step(workdir: pathlib.Path) -> int:
  path = workdir / "metrics.jsonl"
  lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
  return json.loads(lines[-1])["step"] if lines else -1


def final_state(workdir: pathlib.Path):
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.steps, checkpoints.best, checkpoints.restore(checkpoints.steps[-1])


def assert_same_run(workdir: pathlib.Path, alone: pathlib.Path) -> None:
  names = {path.name for path in alone.iterdir() if path.is_file() and path.name not in TIMES}
  assert names > {"metrics.jsonl", "config.json", "curves.png"}
  for name in names:
    assert (workdir / name).read_bytes() == (alone / name).read_bytes(), name
  *bookkeeping, state = final_state(workdir)
  *expected_bookkeeping, expected = final_state(alone)
  assert bookkeeping == expected_bookkeeping
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(expected)):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@pytest.fixture
def trainer_of(tmp_path):
  trainers = []

  def make(*args):
    trainers.append(Trainer(tmp_path, *args))
    return trainers[-1]

  yield make
  for trainer in trainers:
    trainer.close()


SMALL_TEXT = ("gru_lm", "debug", "--config.data.max_characters=20000")


def kill_often(trainer, tmp_path, kills, total_steps):
  """SIGKILLs `kills` times at moments drawn over the run, then lets it end, and compares."""
  trainer.train(tmp_path / "alone")
  draw = random.Random(0)
  workdir = tmp_path / "killed"
  reached = []
  for i in range(kills):
    after = draw.randrange(i * total_steps // kills, (i + 1) * total_steps // kills - 4)
    code = trainer.stop(workdir, signal.SIGKILL, after, draw.uniform(0, 0.05))
    assert code == -signal.SIGKILL, trainer.log.read_text()
    reached.append(last_step(workdir))
  assert reached[0] < total_steps
  trainer.train(workdir)
  assert_same_run(workdir, tmp_path / "alone")


def test_killed_three_times_a_run_ends_as_one_left_alone(trainer_of, tmp_path):
  trainer = trainer_of(60, *SMALL_TEXT)
  kill_often(trainer, tmp_path, 3, 60)

  # SIGTERM: it saves, says so, and the same command ends as if nothing had been.
  workdir = tmp_path / "terminated"
  child = trainer.start(workdir)
  wait_for(lambda: last_step(workdir) > 10)
  began = time.monotonic()
  os.kill(child, signal.SIGTERM)
  assert trainer.exit_code() == 128 + signal.SIGTERM, trainer.log.read_text()
  assert time.monotonic() - began < 10
  said = trainer.log.read_text().splitlines()[-1]
  assert "saved at step" in said and "resumes" in said
  step = final_state(workdir)[0][-1]
  assert 10 < step < 60 and said.startswith(f"saved at step {step};")
  trainer.train(workdir)
  # A checkpoint more or less on the way leaves no trace in what counts.
  assert_same_run(workdir, tmp_path / "alone")


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
def test_killed_twenty_times_a_run_ends_as_one_left_alone(trainer_of, tmp_path, experiment):
  kill_often(trainer_of(400, *experiment), tmp_path, 20, 400)
