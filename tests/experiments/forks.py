"""Runs launch.train in forks of one process, so that imports are paid for once.

Each line of stdin is a JSON object. {"args": [...], "log": FILE, "environment": {...},
"float64": bool} starts a fork, and stdout gets its process id; {"wait": ID} waits for one,
and stdout gets its exit code.
"""

import json
import os
import runpy
import sys
import warnings

import jax
import jax.numpy as jnp

import dlx.doctor
from dlx.training import state as states
import experiments.gru_lm.experiment  # noqa: F401
import experiments.resnet_cifar10.experiment  # noqa: F401
import experiments.transformer_sentiment.experiment  # noqa: F401
import launch.cli.configs  # noqa: F401


def become(request: dict) -> None:
  """Turns this process into the program."""
  log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
  for descriptor in (1, 2):
    os.dup2(log, descriptor)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.environ.update(request.get("environment", {}))
  if request.get("float64"):
    use_float64()
  dlx.doctor.check = lambda: None
  sys.argv = ["launch.train", *request["args"]]
  runpy.run_module("launch.train", run_name="__main__", alter_sys=True)


def use_float64() -> None:
  """Every training starts from the same params, in float64."""
  jax.config.update("jax_enable_x64", True)
  create = states.create

  def in_float64(params, optimizer, *, variables=None, averaged=False):
    cast = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x  # noqa: E731
    params, variables = jax.tree.map(cast, (params, variables or {}))
    return create(params, optimizer, variables=variables, averaged=averaged)

  states.create = in_float64


def main() -> None:
  """Serves until stdin ends."""
  # JAX warns of forks; no backend, and so no thread of it, has started here.
  warnings.filterwarnings("ignore", message=".*fork.*")
  for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
      print(os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1]), flush=True)
      continue
    child = os.fork()
    if not child:
      become(request)
      return
    print(child, flush=True)


if __name__ == "__main__":
  main()
