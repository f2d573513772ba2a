"""Programs of launch/ in forks of one server (tests/fork_server.py) and in fresh interpreters."""

import contextlib
import dataclasses
import fcntl
import itertools
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time

import jax
import numpy as np

from dlx.runs import metric_log, record
from dlx.runs.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[1]
SECONDS = 120  # Any wait longer than this is a failure.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
    "COLUMNS": "100",
    "XLA_FLAGS": "",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclasses.dataclass(frozen=True)
class Finished:
  """A finished program: exit code and output."""

  code: int
  out: str
  err: str


@dataclasses.dataclass(frozen=True)
class Started:
  """A running program: process id and the files of its output."""

  pid: int
  out: pathlib.Path
  err: pathlib.Path

  @property
  def log(self) -> str:
    return self.err.read_text()


class Programs:
  """`programs("launch.train", "--list")` runs a program in a fork and waits for it.

  `start` and `wait` do the two separately; `fresh` and `begin` use a fresh interpreter, and no
  `xla_flags`.
  Options of a fork: folder, timeout, float64, full (compile with all of LLVM's passes),
  signal_at (a step and the signal that it sends itself there), die (the call that changes a
  folder at which it is killed), and environment variables.
  """

  def __init__(self, folder: pathlib.Path, tfds_data_dir: pathlib.Path, *, xla_flags: str = ""):
    self._folder, self._begun, self._numbers = folder, [], itertools.count()
    self.environment = {
        **ENVIRONMENT,
        "TFDS_DATA_DIR": str(tfds_data_dir),
        "XDG_CACHE_HOME": str(folder / "cache"),
        # Compiling is most of a short run's time, and the same in each start.
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    self._server = subprocess.Popen(
        [sys.executable, str(ROOT / "tests" / "fork_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        # A fork must not restart the server.
        env={**self.environment, "GLIBC_TUNABLES": "", "XLA_FLAGS": xla_flags},
    )

  def _ask(self, request: dict) -> int:
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    return int(self._server.stdout.readline())

  def start(
      self, module: str, *args, folder=ROOT, float64=False, full=False, signal_at=None, die=None,
      **environment: str,
  ) -> Started:  # fmt: skip
    name = self._folder / f"program{next(self._numbers)}"
    started = name.with_suffix(".out"), name.with_suffix(".err")
    if full:
      environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "0"
    pid = self._ask({
        "module": module, "args": [str(arg) for arg in args], "folder": str(folder),
        "stdout": str(started[0]), "stderr": str(started[1]), "environment": environment,
        "float64": float64, "signal_at": signal_at, "die": die,
    })  # fmt: skip
    return Started(pid, *started)

  def wait(self, started: Started, timeout: float = 300) -> Finished:
    code = self._ask({"wait": started.pid, "timeout": timeout})
    return Finished(code, started.out.read_text(), started.err.read_text())

  def __call__(self, module: str, *args, timeout: float = 300, **options) -> Finished:
    return self.wait(self.start(module, *args, **options), timeout)

  def begin(self, module: str, *args: str, **environment: str) -> subprocess.Popen:
    """A program in a fresh interpreter that continues while the test does."""
    self._begun.append(subprocess.Popen(
        with_default_signals([sys.executable, "-m", module, *map(str, args)]),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**self.environment, **environment},
    ))  # fmt: skip
    return self._begun[-1]

  def fresh(self, module: str, *args: str, timeout: float = 300) -> Finished:
    """A program in a fresh interpreter."""
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=self.environment, timeout=timeout
    )
    return Finished(done.returncode, done.stdout, done.stderr)

  def close(self) -> None:
    for program in self._begun:
      program.kill()
    self._server.stdin.close()
    self._server.wait(timeout=30)


def with_default_signals(command: list[str]) -> list[str]:
  """The command as started from a terminal: below nohup or & a program ignores some signals."""
  reset = (
      "import os, signal, sys\n"
      "for number in (signal.SIGHUP, signal.SIGINT):\n"
      "  signal.signal(number, signal.SIG_DFL)\n"
      "os.execvp(sys.argv[1], sys.argv[1:])\n"
  )
  return [sys.executable, "-c", reset, *command]


def wait_for(condition) -> None:
  """Returns when the condition holds."""
  end = time.monotonic() + SECONDS
  while not condition():
    assert time.monotonic() < end
    time.sleep(0.001)


def last_step(workdir: pathlib.Path) -> int:
  """The last one in metrics.jsonl, -1 when there is none."""
  path = workdir / "metrics.jsonl"
  lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
  return json.loads(lines[-1])["step"] if lines else -1


def inode(workdir: pathlib.Path) -> int | None:
  """Of metrics.jsonl, which every start replaces."""
  path = workdir / "metrics.jsonl"
  return path.stat().st_ino if path.exists() else None


def state_of(workdir: pathlib.Path, step: int | None = None) -> dict:
  """The checkpoint of a step, the last one when None, as nested dicts."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.restore(checkpoints.steps[-1] if step is None else step)


def saved_steps(workdir: pathlib.Path) -> tuple[list[int], int]:
  """(the steps of all checkpoints, the best one's)."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.steps, checkpoints.best


def assert_same_run(workdir: pathlib.Path, expected: pathlib.Path, stopped_at=frozenset()) -> None:
  """All but times and events is the same, byte for byte.

  A checkpoint that a stop saved, at one of the steps `stopped_at`, may be kept as one of the
  latest in place of an older one; the last and the best are those of the uninterrupted run.
  """
  names = {path.name for path in expected.iterdir() if path.is_file()}
  names -= {"run.json", "record.json", "timings.jsonl", "lock"}
  assert names >= {"metrics.jsonl", "config.json", "data.json", "validation.json"}
  for name in names:
    assert (workdir / name).read_bytes() == (expected / name).read_bytes(), name
  (steps, best), (expected_steps, expected_best) = saved_steps(workdir), saved_steps(expected)
  assert (steps[-1], best) == (expected_steps[-1], expected_best)
  if stopped_at:
    assert set(steps) <= set(expected_steps) | stopped_at
  else:
    assert steps == expected_steps
  state, expected_state = state_of(workdir), state_of(expected)
  assert jax.tree.structure(state) == jax.tree.structure(expected_state)
  for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(expected_state)):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


@contextlib.contextmanager
def locked(path: pathlib.Path):
  """Waits until no other process holds this lock."""
  with path.open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    yield


def distance(workdir: pathlib.Path, other: pathlib.Path, dtype=np.float64) -> float:
  """Of the last variables of two runs, relative to the norm of those of `other`.

  In float32 without the biases of keys: they shift all scores of a query alike, so their
  gradient is rounding error, which Adam scales to full steps.
  """
  jax.config.update("jax_enable_x64", True)  # Otherwise float64 is read as float32.
  try:
    states = map(state_of, (workdir, other))
    flat = [
        np.concatenate([
            np.ravel(x)
            for path, x in jax.tree.leaves_with_path([state["params"], state["collections"]])
            if np.asarray(x).dtype == dtype
            and (dtype == np.float64 or "['key']['bias']" not in jax.tree_util.keystr(path))
        ])
        for state in states
    ]
  finally:
    jax.config.update("jax_enable_x64", False)
  assert flat[0].dtype == dtype
  return np.linalg.norm(flat[0] - flat[1]) / np.linalg.norm(flat[1])


def validation(workdir: pathlib.Path) -> dict[str, float]:
  """The last metrics of the validation split."""
  lines = metric_log.read(workdir / "metrics.jsonl")
  names = {name for line in lines for name in line if name.startswith("validation/")}
  return {name: [line[name] for line in lines if name in line][-1] for name in names}


def without_last_checkpoint(workdir: pathlib.Path, run: pathlib.Path) -> pathlib.Path:
  """A copy of a run that lost its last checkpoint."""
  shutil.copytree(run, workdir)
  last = saved_steps(run)[0][-1]
  shutil.rmtree(workdir / "checkpoints" / str(last))
  with record.changed(workdir) as content:
    del content["checkpoints"][str(last)]
  return workdir
