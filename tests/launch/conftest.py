"""Two ways to run a program: in a fresh interpreter, and in a fork of one that has imports."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(ROOT),
    "JAX_PLATFORMS": "cpu",
    "COLUMNS": "100",
    "XLA_FLAGS": "",
}


@dataclasses.dataclass(frozen=True)
class Finished:
  """What a program left."""

  code: int
  out: str
  err: str


class Programs:
  """`programs("launch.train", "--list")`, in a fork; `programs.fresh(...)`, from the start."""

  def __init__(self, folder: pathlib.Path, tfds_data_dir: pathlib.Path):
    self._folder = folder
    self._environment = {
        **ENVIRONMENT,
        "TFDS_DATA_DIR": str(tfds_data_dir),
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

  def __call__(self, module: str, *args: str, timeout: float = 120) -> Finished:
    out, err = self._folder / "stdout", self._folder / "stderr"
    request = {
        "module": module,
        "args": [str(arg) for arg in args],
        "stdout": str(out),
        "stderr": str(err),
        "timeout": timeout,
    }
    self._server.stdin.write(json.dumps(request) + "\n")
    self._server.stdin.flush()
    code = int(self._server.stdout.readline())
    return Finished(code, out.read_text(), err.read_text())

  def fresh(self, module: str, *args: str, timeout: float = 240) -> Finished:
    command = [sys.executable, "-m", module, *map(str, args)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env=self._environment, timeout=timeout
    )
    return Finished(done.returncode, done.stdout, done.stderr)

  def close(self) -> None:
    self._server.stdin.close()
    self._server.wait(timeout=30)


@pytest.fixture(scope="session")
def programs(tmp_path_factory):
  """Runs programs where no TFDS data set is prepared."""
  folder = tmp_path_factory.mktemp("programs")
  running = Programs(folder, tmp_path_factory.mktemp("no_data_sets"))
  yield running
  running.close()
