"""dlx as a library: in a notebook, in a thread, and its modules as attributes."""

import subprocess
import sys

import programs as programs_lib
import pytest

import dlx


def run(code: str, *arguments, **environment: str) -> str:
  done = subprocess.run(
      [sys.executable, "-c", code, *map(str, arguments)],
      capture_output=True, text=True, cwd=programs_lib.ROOT,
      env={**programs_lib.ENVIRONMENT, **environment},
  )  # fmt: skip
  assert done.returncode == 0, done.stderr
  return done.stdout


def test_modules_are_attributes_that_are_imported_when_used():
  run("""
import sys
import dlx
assert not {"jax", "numpy", "dlx.layers.gru"} & set(sys.modules)
assert {"layers", "gradients", "doctor", "load_run"} <= set(dir(dlx))
assert {"gru", "attention"} <= set(dir(dlx.layers))
assert dlx.layers.gru.init.__module__ == "dlx.layers.gru"
assert dlx.gradients.gru and dlx.settings.count and dlx.metrics.calibration
from dlx.layers import linear
assert dlx.layers.lstm
""")


@pytest.mark.parametrize("module, name", [("dlx", "nothing"), ("dlx.layers", "nothing")])
def test_an_attribute_that_does_not_exist_is_an_attribute_error(module, name):
  with pytest.raises(AttributeError, match=f"module '{module}' has no attribute '{name}'"):
    getattr(sys.modules[module], name)
  assert not hasattr(dlx, "__wrapped__")


NOTEBOOK = """
import asyncio, logging, pathlib, signal, sys, threading, warnings
import matplotlib
matplotlib.use("svg")
import dlx.training.train, scipy.sparse, scipy.special, tensorboardX  # They set filters.
from experiments.gru_lm.config import get_config

NAMES = ("", "absl", "jax", "asyncio", "gcsfs", "tensorflow_datasets", "matplotlib", "orbax")

def state():
  return (
      matplotlib.get_backend(), list(warnings.filters), sys.excepthook,
      {name: logging.getLogger(name).level for name in NAMES},
      {number: signal.getsignal(number) for number in signal.valid_signals()},
  )

def work(folder):
  dlx.train(get_config("debug"), folder / "run")
  run = dlx.load_run(folder / "run")
  dlx.export(run, folder / "out")
  assert dlx.evaluate(dlx.load_run(folder / "out"), "validation")["examples"] == 93
  assert "".join(dlx.sample(run, length=5))

async def cell(folder):
  work(folder)

folder, before = pathlib.Path(sys.argv[1]), state()
asyncio.run(cell(folder / "cell"))  # As in a notebook, within a running event loop.
for old, new in zip(before, state()):
  assert old == new, (old, new)

thread = threading.Thread(target=dlx.train, args=(get_config("debug"), folder / "thread"))
thread.start()
thread.join()
"""


@pytest.mark.full
def test_a_notebook_trains_in_its_event_loop_and_in_a_thread(programs, tmp_path):
  run(NOTEBOOK, tmp_path, **programs.environment)  # With its cache of compiled programs.
  assert (tmp_path / "cell" / "out" / "model.safetensors").exists()
  written = (tmp_path / "cell" / "run" / "metrics.jsonl").read_bytes()
  assert (tmp_path / "thread" / "metrics.jsonl").read_bytes() == written


WINDOWS = """
import importlib, sys, types
sys.modules["fcntl"] = types.ModuleType("fcntl")  # For the lock of a run, which needs it.
for name in ("resource", "termios", "pwd", "grp", "tty", "pty"):
  sys.modules[name] = None
import dlx.runs.lock
sys.modules["fcntl"] = None
for name in sys.argv[1:]:
  importlib.import_module(name)
"""


def test_all_but_the_lock_is_imported_where_unix_modules_are_missing():
  run(WINDOWS, *modules())


def modules() -> list[str]:
  """Every module of dlx and launch that is not a program of its own."""
  files = [p for top in ("dlx", "launch") for p in (programs_lib.ROOT / top).rglob("*.py")]
  names = [".".join(p.relative_to(programs_lib.ROOT).with_suffix("").parts) for p in files]
  return sorted(n.removesuffix(".__init__") for n in names if not n.endswith("__main__"))
