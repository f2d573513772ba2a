"""What several tests share: quick compilation, double precision, a host of eight devices."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest

# Thousands of small programs, each run once or twice: compiling is nearly all of the time.
# XLA's older code generator for CPU takes less time for it than the one that users have.
OLDER_GENERATOR = "--xla_cpu_use_fusion_emitters=false"
QUICKLY_COMPILED = ("benchmarks", "experiments", "gradients", "models")


def pytest_configure(config):
  """In the short suite, takes the older generator where this XLA still has it.

  The full suite, test_kill and the programs that tests/launch starts do without.
  """
  worker = hasattr(config, "workerinput")  # It has the environment of the first process.
  if worker or config.option.markexpr != "not full" or "XLA_FLAGS" in os.environ:
    return
  # XLA ends a process that names a flag it does not know.
  program = [sys.executable, "-c", "import jax; jax.devices()"]
  environment = {**os.environ, "XLA_FLAGS": OLDER_GENERATOR}
  if not subprocess.run(program, env=environment, capture_output=True).returncode:
    os.environ["XLA_FLAGS"] = OLDER_GENERATOR


@pytest.fixture(autouse=True)
def quick_compilation(request):
  """Leaves out LLVM's costly passes in these folders, but not in the full suite.

  XLA's own passes stay. The programs of tests/launch leave them out too, layers and training
  do not.
  """
  quick = request.path.parent.name in QUICKLY_COMPILED and not request.node.get_closest_marker(
      "full"
  )
  jax.config.update("jax_disable_most_optimizations", quick)
  yield
  jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture
def x64():
  """Runs the test in float64."""
  with jax.enable_x64(True):
    yield


@pytest.fixture
def on_eight_devices():
  """`run(program, *arguments)`: the lines that a program prints where it is alone.

  There the CPU stands for eight devices, and floats are float64.
  """

  def run(program: str, *arguments: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        cwd=pathlib.Path(__file__).resolve().parents[1],
        env={
            **os.environ,
            "JAX_PLATFORMS": "cpu",
            "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
            "JAX_ENABLE_X64": "1",
            # LLVM's costly passes change neither values nor what is sent.
            "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()

  return run
