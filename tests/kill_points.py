"""Kills a training before or after calls that change its folder, and completes it."""

from collections.abc import Callable, Sequence
import itertools
import pathlib
import re
import shutil
import signal

import programs as programs_lib

Point = tuple[int, bool]  # (number of the call, after it).


def command(programs, *flags: str, folder: pathlib.Path = programs_lib.ROOT) -> Callable:
  """`run(workdir, **options)`: the program that trains with these flags in a workdir."""
  return lambda workdir, **options: programs(
      "launch.train", *flags, f"--workdir={workdir}", folder=folder, **options
  )


def points(run: Callable, workdir: pathlib.Path) -> list[Point]:
  """One of each kind of call, before it and after it; `calls` has the names."""
  assert run(workdir, die={"below": str(workdir), "call": 0, "after": False}).code == 0
  found = calls(workdir)
  assert len(found) > 50
  kinds = {}
  for number, call in enumerate(found, start=1):
    kinds.setdefault(re.sub(r"\d+", "N", call.replace(str(workdir), "")), number)
  assert len(kinds) > 20
  return list(itertools.product(kinds.values(), (False, True)))


def calls(workdir: pathlib.Path) -> list[str]:
  """The calls of the run that `points` started."""
  return pathlib.Path(f"{workdir}.calls").read_text().splitlines()


def check(
    run: Callable,
    uninterrupted: pathlib.Path,
    folder: pathlib.Path,
    choose: Callable[[Sequence[Point]], Sequence[Point]],
    *,
    half: pathlib.Path | None = None,
) -> int:
  """Kills a run at each of some points; the same command completes it, with equal files.

  Args:
    run: see `command`.
    uninterrupted: the folder of that run.
    folder: an empty one.
    choose: some of the points.
    half: a run that was killed earlier, from which each of them resumes.

  Returns:
    The number of kills.
  """

  def begin(name):
    (folder / name).mkdir()
    workdir = folder / name / "run"
    return shutil.copytree(half, workdir) if half else workdir

  counted = begin("counted")
  chosen = choose(points(run, counted))
  for call, after in chosen:
    workdir = begin(f"{call}{after}")
    try:
      _check_one(run, workdir, uninterrupted, call, after)
    except AssertionError as e:
      at = f"{'after' if after else 'before'} {calls(counted)[call - 1]}"
      raise AssertionError(f"killed {at}: {e}") from e
    shutil.rmtree(workdir)
  return len(chosen)


def _check_one(run, workdir, uninterrupted, call, after) -> None:
  finished = run(workdir, die={"below": str(workdir), "call": call, "after": after})
  assert finished.code in (-signal.SIGKILL, 0), finished  # Threads vary the number of calls.
  finished = run(workdir)
  assert finished.code == 0 and "corrupted" not in finished.out + finished.err, finished
  programs_lib.assert_same_run(workdir, uninterrupted)
  left = {path.name for path in workdir.iterdir()} - {path.name for path in uninterrupted.iterdir()}
  assert all(name.startswith("unrecorded-") for name in left), left
