"""Two ways to run a program: in a fresh interpreter, and in a fork of one that has imports."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest

from dlx.runs.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
    "COLUMNS": "100",
    "XLA_FLAGS": "",
}


def with_default_signals(command: list[str]) -> list[str]:
  """The command as started from a terminal: below nohup or & a program ignores some signals."""
  reset = (
      "import os, signal, sys\n"
      "for number in (signal.SIGHUP, signal.SIGINT):\n"
      "  signal.signal(number, signal.SIG_DFL)\n"
      "os.execvp(sys.argv[1], sys.argv[1:])\n"
  )
  return [sys.executable, "-c", reset, *command]


@dataclasses.dataclass(frozen=True)
class Finished:
  """What a program left."""

  code: int
  out: str
  err: str


class Programs:
  """`programs("launch.train", "--list")`, in a fork; `programs.fresh(...)`, from the start."""

  def __init__(self, folder: pathlib.Path, tfds_data_dir: pathlib.Path):
    self._folder, self._begun = folder, []
    self._environment = {
        **ENVIRONMENT,
        "TFDS_DATA_DIR": str(tfds_data_dir),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",  # Compiling is most of a short run's time.
    }
    self._server = subprocess.Popen(
        [sys.executable, str(pathlib.Path(__file__).with_name("fork_server.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=self._environment,
    )

  def __call__(
      self, module: str, *args: str, timeout: float = 120, folder=ROOT, **environment: str
  ) -> Finished:
    out, err = self._folder / "stdout", self._folder / "stderr"
    request = {
        "module": module,
        "args": [str(arg) for arg in args],
        "stdout": str(out),
        "stderr": str(err),
        "timeout": timeout,
        "environment": environment,
        "folder": str(folder),
    }
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    code = int(self._server.stdout.readline())
    return Finished(code, out.read_text(), err.read_text())

  def begin(self, module: str, *args: str, **environment: str) -> subprocess.Popen:
    """A program in a fresh interpreter that goes on while the test does."""
    self._begun.append(subprocess.Popen(
        with_default_signals([sys.executable, "-m", module, *map(str, args)]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**self._environment, **environment},
    ))  # fmt: skip
    return self._begun[-1]

  def fresh(self, module: str, *args: str, timeout: float = 240) -> Finished:
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=self._environment, timeout=timeout
    )
    return Finished(done.returncode, done.stdout, done.stderr)

  def close(self) -> None:
    for program in self._begun:
      program.kill()
    self._server.stdin.close()
    self._server.wait(timeout=30)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
  """Runs programs where no TFDS data set is prepared."""
  folder = tmp_path_factory.mktemp("programs")
  running = Programs(folder, tmp_path_factory.mktemp("no_data_sets"))
  yield running
  running.close()


def state_of(workdir: pathlib.Path, step: int) -> dict:
  """What the checkpoint of a step holds."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(step)


@pytest.fixture
def from_a_terminal():
  """See with_default_signals."""
  return with_default_signals


@pytest.fixture
def state():
  """`state(workdir, step)`: what a checkpoint holds."""
  return state_of


@pytest.fixture
def resumes(programs, tmp_path):
  """`resumes(flag, run, before, last)`: without its last checkpoint, the run comes out the same."""

  def check(flag: str, run: pathlib.Path, before: int, last: int) -> None:
    workdir = shutil.copytree(run, tmp_path / "run")
    shutil.rmtree(workdir / "checkpoints" / str(last))
    (workdir / "checksums" / f"{last}.json").unlink()
    finished = programs("launch.train", flag, f"--workdir={workdir}", timeout=300)
    assert finished.code == 0 and f"resuming from step {before}" in finished.err, finished
    assert (workdir / "metrics.jsonl").read_bytes() == (run / "metrics.jsonl").read_bytes()
    ours, theirs = (state_of(folder, last) for folder in (workdir, run))
    assert set(ours) == set(theirs) >= {"params", "ema", "opt_state"}
    for name in set(ours) - {"opt_state"}:
      jax.tree.map(np.testing.assert_array_equal, ours[name], theirs[name])

  return check
