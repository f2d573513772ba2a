"""A run killed before or after any call that changes its folder: the same command completes it."""

import itertools
import pathlib
import random
import re
import shutil
import signal

import programs as programs_lib
import pytest

SAMPLE = 4  # Of some hundred points; the others are in the full suite.


class Command:
  """The program that trains the preset debug of the package linear_regression in a folder."""

  def __init__(self, programs, linear_regression):
    self._programs = programs
    self._folder = pathlib.Path(linear_regression[0].__file__).parents[1]

  def __call__(self, workdir: pathlib.Path, **options):
    return self._programs(
        "launch.train", "--config=linear_regression/config.py:debug", f"--workdir={workdir}",
        folder=self._folder, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def command(programs, linear_regression):
  return Command(programs, linear_regression)


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


def points(command, workdir) -> list[tuple[int, bool]]:
  """(number of the call, after it): one of each kind of call, before it and after it."""
  assert command(workdir, die={"below": str(workdir), "call": 0, "after": False}).code == 0
  calls = pathlib.Path(f"{workdir}.calls").read_text().splitlines()
  assert len(calls) > 50
  kinds = {}
  for number, call in enumerate(calls, start=1):
    kinds.setdefault(re.sub(r"\d+", "N", call.replace(str(workdir), "")), number)
  assert len(kinds) > 20
  return list(itertools.product(kinds.values(), (False, True)))


def check(command, workdir, uninterrupted, call, after):
  finished = command(workdir, die={"below": str(workdir), "call": call, "after": after})
  assert finished.code in (-signal.SIGKILL, 0), finished  # Threads vary the number of calls.
  finished = command(workdir)
  assert finished.code == 0 and "corrupted" not in finished.out + finished.err, finished
  programs_lib.assert_same_run(workdir, uninterrupted)
  left = {path.name for path in workdir.iterdir()} - {path.name for path in uninterrupted.iterdir()}
  assert all(name.startswith("unrecorded-") for name in left), left


@pytest.mark.parametrize("start", ["new", "resumed"])
def test_a_sample_of_kills_loses_nothing(command, uninterrupted, half, tmp_path, start):
  check_points(command, uninterrupted, half, tmp_path, start, SAMPLE // 2)


@pytest.mark.full
@pytest.mark.parametrize("start", ["new", "resumed"])
def test_no_kill_loses_anything(command, uninterrupted, half, tmp_path, start):
  check_points(command, uninterrupted, half, tmp_path, start, None)


def check_points(command, uninterrupted, half, tmp_path, start, count):
  def begin(name):
    workdir = tmp_path / name / "run"
    return shutil.copytree(half, workdir) if start == "resumed" else workdir

  (tmp_path / "counted").mkdir()
  chosen = points(command, begin("counted"))
  if count is not None:
    chosen = random.Random(0).sample(chosen, count)
  for call, after in chosen:
    (tmp_path / f"{call}{after}").mkdir()
    workdir = begin(f"{call}{after}")
    try:
      check(command, workdir, uninterrupted, call, after)
    except AssertionError as e:
      at = pathlib.Path(f"{tmp_path / 'counted' / 'run'}.calls").read_text().splitlines()[call - 1]
      raise AssertionError(f"killed {'after' if after else 'before'} {at}: {e}") from e
    shutil.rmtree(workdir)
