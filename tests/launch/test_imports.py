"""Importing the packages is quick and changes nothing in the process."""

import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAMS = sorted(f"launch.{path.stem}" for path in ROOT.glob("launch/[a-z]*.py"))

CHECK = """
import logging, os, signal, sys, warnings
loggers = ("", "absl", "jax", "asyncio", "gcsfs", "tensorflow_datasets", "matplotlib")

def state():
  return (
      dict(os.environ), os.getcwd(), list(warnings.filters),
      {name: logging.getLogger(name).level for name in loggers},
      {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)},
  )

before = state()
import MODULE
for old, new in zip(before, state()):
  assert old == new, (old, new)
assert "tensorflow" not in sys.modules
"""
NO_JAX = """
assert "jax" not in sys.modules and "numpy" not in sys.modules
import matplotlib
backend = matplotlib.rcParams._get("backend")
import dlx.reports.figures
assert matplotlib.rcParams._get("backend") == backend
"""


def run(code: str) -> None:
  done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
  assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["dlx", "launch"])
def test_a_package_is_imported_without_jax_and_without_side_effects(module):
  run(CHECK.replace("MODULE", module) + NO_JAX)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("module", PROGRAMS)
def test_a_program_is_imported_without_side_effects(module):
  run("import numpy\n" + CHECK.replace("MODULE", module))  # numpy adds warning filters.


def seconds(start) -> float:
  """The least processor time of two children; other programs hardly change it, unlike time."""
  found = []
  for _ in range(2):
    before = os.times()
    start()
    after = os.times()
    used = lambda times: times.children_user + times.children_system  # noqa: E731
    found.append(used(after) - used(before))
  return min(found)


def test_dlx_is_imported_quickly():
  assert seconds(lambda: run("import dlx")) < 2


def test_help_is_shown_quickly(programs):
  def show():
    assert programs.fresh("launch.train", "--help").code == 0

  assert seconds(show) < 5


def test_programs_are_imported_together():
  modules = [*PROGRAMS, *(f"launch.clusters.{name}" for name in ("kubernetes", "slurm", "tpu"))]
  run(f"import importlib\nfor name in {modules} * 2:\n  importlib.import_module(name)")
