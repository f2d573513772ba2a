"""Runs programs in forks of one process, which has imported what they import.

  echo '{"module": ..., "args": [...], "stdout": FILE, "stderr": FILE, "timeout": SECONDS,
        "environment": {...}, "folder": FOLDER}' |
      python tests/launch/fork_server.py

Each line of stdin is a program to run, and gives one line of stdout: its exit code. A
child is what `python -m MODULE ARGS` would be, but for two things: the seconds of importing
are gone, and so is dlx.doctor's check, which tests of whole commands go through.
"""

import gc
import json
import os
import runpy
import signal
import sys
import time
import warnings

import jax

import dlx.doctor
import dlx.runs.export
import experiments.gru_lm.experiment  # noqa: F401
import experiments.resnet_cifar10.experiment  # noqa: F401
import experiments.transformer_sentiment.experiment  # noqa: F401
import launch.cli.configs  # noqa: F401


def wait(child: int, seconds: float) -> int:
  """The exit code of a child, which is killed after so many seconds."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.01)
  os.kill(child, signal.SIGKILL)
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(request: dict) -> None:
  """Turns this process into the program."""
  for name, descriptor in (("stdout", 1), ("stderr", 2)):
    os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.environ.update(request["environment"])
  os.chdir(request["folder"])
  dlx.doctor.check = lambda: None
  sys.argv = [request["module"], *request["args"]]
  runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def main() -> None:
  """Serves until stdin ends."""
  # JAX warns of forks; no backend, and so no thread of it, has started here.
  warnings.filterwarnings("ignore", message=".*fork.*")
  assert not jax._src.xla_bridge.backends_are_initialized()
  gc.freeze()  # A child that ends need not look through what it did not make.
  for line in sys.stdin:
    request = json.loads(line)
    child = os.fork()
    if not child:
      become(request)
      return
    print(wait(child, request["timeout"]), flush=True)


if __name__ == "__main__":
  main()
