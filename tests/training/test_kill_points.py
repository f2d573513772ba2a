"""A run killed before or after any call that changes its folder: the same command completes it.

The debug presets of all experiments are in tests/experiments/test_kill.py.
"""

import pathlib
import random
import signal

import kill_points
import programs as programs_lib
import pytest

SAMPLE = 4  # Of some hundred points; the others are in the full suite.


@pytest.fixture(scope="module")
def command(programs, linear_regression):
  folder = pathlib.Path(linear_regression[0].__file__).parents[1]
  config = "--config=linear_regression/config.py:debug"
  return kill_points.command(programs, config, folder=folder)


@pytest.fixture(scope="module")
def uninterrupted(command, tmp_path_factory):
  workdir = tmp_path_factory.mktemp("uninterrupted") / "run"
  assert command(workdir).code == 0
  return workdir


@pytest.fixture(scope="module")
def half(command, tmp_path_factory):
  """A run that was killed in the middle."""
  workdir = tmp_path_factory.mktemp("half") / "run"
  assert command(workdir, signal_at=(9, signal.SIGKILL)).code == -signal.SIGKILL
  assert programs_lib.saved_steps(workdir)[0]
  return workdir


@pytest.mark.sampled(1)
@pytest.mark.parametrize("start", ["new", "resumed"])
def test_a_sample_of_kills_loses_nothing(command, uninterrupted, half, tmp_path, start):
  choose = lambda points: random.Random(0).sample(points, SAMPLE)  # noqa: E731
  half = half if start == "resumed" else None
  assert kill_points.check(command, uninterrupted, tmp_path, choose, half=half) == SAMPLE


@pytest.mark.full
@pytest.mark.parametrize("start", ["new", "resumed"])
def test_no_kill_loses_anything(command, uninterrupted, half, tmp_path, start):
  half = half if start == "resumed" else None
  assert kill_points.check(command, uninterrupted, tmp_path, lambda points: points, half=half) > 40
