"""What the experiments' tests share."""

import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import ml_collections
import numpy as np
import pytest

from dlx.runs.checkpoints import Checkpoints

ROOT = pathlib.Path(__file__).resolve().parents[2]
SECONDS = 120  # Any wait longer than this is a failure.


@pytest.fixture
def whole_preset():
  """`whole_preset(configs, experiment, preset)`: a config that has every key, locked and valid."""

  def check(configs, experiment, preset: str) -> ml_collections.ConfigDict:
    config, base = configs.get_config(preset), configs.get_config()

    def keys(c):
      return {k: keys(c[k]) if isinstance(c[k], ml_collections.ConfigDict) else None for k in c}

    assert keys(config) == keys(base) and config.is_locked and config.preset == preset
    assert experiment.__name__ == f"{config.experiment}.experiment"
    experiment.check_config(config)
    assert json.loads(json.dumps(config.to_dict())) == config.to_dict()
    return config

  return check


class Forks:
  """launch.train in forks of one process; see forks.py."""

  def __init__(self, folder: pathlib.Path, quickly_compiled: bool):
    self.log = folder / "log"
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
            # What LLVM leaves out here changes no value between two programs compiled so.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": str(int(quickly_compiled)),
            "TF_CPP_MIN_LOG_LEVEL": "3",
        },
    )

  def start(self, *args: str, **options) -> int:
    """The process id of a training with these arguments."""
    return self._ask({"args": list(args), "log": str(self.log), **options})

  def exit_code(self, child: int) -> int:
    return self._ask({"wait": child})

  def _ask(self, request: dict) -> int:
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    return int(self._server.stdout.readline())

  def close(self) -> None:
    self._server.stdin.close()
    self._server.wait(SECONDS)


def wait_for(condition) -> None:
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
  path = workdir / "metrics.jsonl"
  return path.stat().st_ino if path.exists() else None


def final_state(workdir: pathlib.Path):
  """(steps of the checkpoints, the best one's, what the last one holds)."""
  with Checkpoints(workdir / "checkpoints", read_only=True) as checkpoints:
    return checkpoints.steps, checkpoints.best, checkpoints.restore(checkpoints.steps[-1])


def assert_same_run(workdir: pathlib.Path, alone: pathlib.Path, stopped_at=frozenset()) -> None:
  """All but times is the same, byte for byte.

  A checkpoint that a stop saved, at one of the steps `stopped_at`, may be kept as one of the
  latest in place of an older one; the last and the best are those of the run left alone.
  """
  names = {path.name for path in alone.iterdir() if path.is_file()}
  names -= {"run.json", "timings.jsonl"}
  assert names > {"metrics.jsonl", "config.json", "curves.png"}
  for name in names:
    assert (workdir / name).read_bytes() == (alone / name).read_bytes(), name
  steps, best, state = final_state(workdir)
  expected_steps, expected_best, expected = final_state(alone)
  assert (steps[-1], best) == (expected_steps[-1], expected_best)
  if stopped_at:
    assert set(steps) <= set(expected_steps) | stopped_at
  else:
    assert steps == expected_steps
  assert jax.tree.structure(state) == jax.tree.structure(expected)
  for x, y in zip(jax.tree.leaves(state), jax.tree.leaves(expected)):
    assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


class Runs:
  """What the tests of stopped runs need; see the functions of the same names."""

  wait_for = staticmethod(wait_for)
  last_step = staticmethod(last_step)
  inode = staticmethod(inode)
  final_state = staticmethod(final_state)
  assert_same = staticmethod(assert_same_run)


@pytest.fixture
def runs():
  return Runs


@pytest.fixture
def forks(request, tmp_path):
  serving = Forks(tmp_path, quickly_compiled=not request.node.get_closest_marker("full"))
  yield serving
  serving.close()
