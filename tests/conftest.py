"""What several tests share: double precision, and a host of eight devices."""

import os
import pathlib
import subprocess
import sys

import jax
import pytest


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
        },
        timeout=240,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()

  return run
