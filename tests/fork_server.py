"""Runs programs in forks of one process, so that imports are paid for once.

Each line of stdin is a JSON object, answered by one line of stdout:

  {"module": ..., "args": [...], "stdout": FILE, "stderr": FILE, "environment": {...},
   "folder": FOLDER, "float64": bool, "signal_at": [STEP, NUMBER] or null,
   "die": {"below": FOLDER, "call": NUMBER, "after": bool} or null}
                                          starts a program; its process id
  {"wait": ID, "timeout": SECONDS}        its exit code; it is killed after so many seconds

A child is what `python -m MODULE ARGS` would be, except that the seconds of importing are saved,
and so is dlx.doctor's check, which the tests with fresh interpreters go through. With signal_at
it sends itself a signal when metrics.jsonl has that step; with die, SIGKILL before or after a
call that changes the folder (call 0: never), and the calls are listed in FOLDER.calls.
"""

import builtins
import functools
import gc
import importlib
import io
import itertools
import json
import os
import pathlib
import runpy
import signal
import sys
import threading
import time
import warnings

import jax
import jax.numpy as jnp

import dlx.doctor
import dlx.runs.export
from dlx.runs.metric_log import MetricLog
from dlx.training import state as states
import dlx.training.train
import launch.cli.program  # noqa: F401

ROOT = pathlib.Path(__file__).resolve().parents[1]


def wait(child: int, seconds: float) -> int:
  """The exit code of a child, which is killed after so many seconds."""
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    done, status = os.waitpid(child, os.WNOHANG)
    if done:
      return os.waitstatus_to_exitcode(status)
    time.sleep(0.005)
  os.kill(child, signal.SIGKILL)
  return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def become(request: dict) -> None:
  """Turns this process into the program."""
  for name, descriptor in (("stdout", 1), ("stderr", 2)):
    os.dup2(os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
  os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
  os.environ.update(request["environment"])
  for name, value in request["environment"].items():
    if name.startswith("JAX_"):  # Read when jax was imported.
      jax.config.update(name.lower(), {"0": False, "1": True}.get(value, value))
  if request["float64"]:
    use_float64()
  if request["signal_at"]:
    signal_itself(*request["signal_at"])
  if request["die"]:
    die(**request["die"])
  os.chdir(request["folder"])
  sys.path[0] = request["folder"]  # As `python -m` has it.
  dlx.doctor.check = lambda: None
  sys.argv = [request["module"], *request["args"]]
  runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def use_float64() -> None:
  """Every training starts from the same variables, in float64, and draws no figures.

  These runs are for their numbers; others draw the same figures.
  """
  jax.config.update("jax_enable_x64", True)
  create = states.create

  def in_float64(variables, optimizer, *, averaged=False):
    cast = lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x  # noqa: E731
    return create(jax.tree.map(cast, variables), optimizer, averaged=averaged)

  states.create = in_float64
  complete = dlx.training.train.complete
  dlx.training.train.complete = lambda *args: complete(*args)._replace(plot=None, sample=None)


def signal_itself(at_step: int, number: int) -> None:
  """Sends this process a signal, once, after it has logged a step."""
  write = MetricLog.write

  def write_and_signal(self, step, values):
    write(self, step, values)
    if step >= at_step:
      MetricLog.write = write
      os.kill(os.getpid(), number)

  MetricLog.write = write_and_signal


def die(below: str, call: int, after: bool) -> None:
  """Kills this process before or after the n-th call that changes the folder."""
  folder, log, numbers = below, open(f"{below}.calls", "w", buffering=1), itertools.count(1)
  counting = threading.Lock()

  def wrap(name, function, changes):
    @functools.wraps(function)
    def wrapped(path, *args, **kwargs):
      inside = kwargs.get("dir_fd") is not None or (
          isinstance(path, (str, os.PathLike)) and os.path.abspath(path).startswith(folder)
      )
      if not inside or not changes(*args, **kwargs):
        return function(path, *args, **kwargs)
      with counting:
        number = next(numbers)
        log.write(f"{name} {path}\n")
      if number == call and not after:
        os.kill(os.getpid(), signal.SIGKILL)
      result = function(path, *args, **kwargs)
      if number == call:
        os.kill(os.getpid(), signal.SIGKILL)
      return result

    return wrapped

  writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT
  os.open = wrap("os.open", os.open, lambda flags, *_, **__: flags & writes)
  io.open = wrap("open", io.open, lambda mode="r", *_, **__: set(mode) & set("wax+"))
  builtins.open = io.open
  for name in ("mkdir", "rename", "replace", "rmdir", "remove", "unlink"):
    setattr(os, name, wrap(f"os.{name}", getattr(os, name), lambda *_, **__: True))


def main() -> None:
  """Serves until stdin ends."""
  for path in sorted(ROOT.glob("experiments/*/experiment.py")):
    importlib.import_module(f"experiments.{path.parent.name}.experiment")
  # JAX warns of forks; no backend, and so no thread of it, has started here.
  warnings.filterwarnings("ignore", message=".*fork.*")
  assert not jax._src.xla_bridge.backends_are_initialized()
  gc.freeze()  # A child that ends need not collect what it did not make.
  for line in sys.stdin:
    request = json.loads(line)
    if "wait" in request:
      print(wait(request["wait"], request["timeout"]), flush=True)
      continue
    child = os.fork()
    if not child:
      become(request)
      return
    print(child, flush=True)


if __name__ == "__main__":
  main()
