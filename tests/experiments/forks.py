"""Runs launch.train in forks of one process, so that imports are paid for once.

Each line of stdin is a JSON object {"args": [...], "log": FILE}; for each, stdout gets the
fork's process id at once and its exit code at its end.
"""

import json
import os
import runpy
import sys
import warnings

import dlx.doctor
import experiments.gru_lm.experiment  # noqa: F401
import experiments.resnet_cifar10.experiment  # noqa: F401
import experiments.transformer_sentiment.experiment  # noqa: F401
import launch.configs  # noqa: F401


def become(request: dict) -> None:
  """Turns this process into the program."""
  log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for descriptor in (1, 2):
    os.dup2(log, descriptor)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  dlx.doctor.check = lambda: None
  sys.argv = ["launch.train", *request["args"]]
  runpy.run_module("launch.train", run_name="__main__", alter_sys=True)


def main() -> None:
  """Serves until stdin ends."""
  # JAX warns of forks; no backend, and so no thread of it, has started here.
  warnings.filterwarnings("ignore", message=".*fork.*")
  for line in sys.stdin:
    child = os.fork()
    if not child:
      become(json.loads(line))
      return
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


if __name__ == "__main__":
  main()
