"""How every program starts: its output."""

import os
import subprocess
import sys

import programs as programs_lib
import pytest

PRINT = """
import sys
from launch.cli import program
sys.argv = ["program"]
program.run(lambda: print("tr\\xe8s bon, caf\\udce9"))
"""


@pytest.mark.parametrize("encoding, printed", [
    ("ascii", b"tr\\xe8s bon, caf\\udce9"), ("utf-8", b"tr\xc3\xa8s bon, caf\\udce9"),
])  # fmt: skip
def test_what_the_encoding_of_the_output_lacks_is_escaped(encoding, printed):
  done = subprocess.run(
      [sys.executable, "-c", PRINT], capture_output=True, cwd=programs_lib.ROOT,
      env={**os.environ, "PYTHONIOENCODING": encoding},
  )  # fmt: skip
  assert (done.returncode, done.stdout.strip()) == (0, printed), done


@pytest.mark.parametrize("platform", ["cude", "cuda", "gpu", "tpu"])
@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_a_platform_that_is_not_here_gives_one_line(programs, trained, tmp_path, program, platform):
  config = "--config=experiments/gru_lm/config.py:debug"
  flags = [config, f"--workdir={tmp_path / 'run'}"]
  if program == "evaluate":
    flags = [f"--workdir={trained('experiments.gru_lm:debug')}"]
  finished = programs(f"launch.{program}", *flags, JAX_PLATFORMS=platform)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert f"finds no device with JAX_PLATFORMS={platform!r}" in finished.err
  assert not (tmp_path / "run").exists()


def test_help_is_shown_without_docstrings():
  done = subprocess.run(
      [sys.executable, "-OO", "-m", "launch.sample", "--help"],
      capture_output=True, text=True, cwd=programs_lib.ROOT,
  )  # fmt: skip
  assert done.returncode == 0 and "--prompt" in done.stdout
  assert done.stdout.startswith("python -m launch.sample "), done.stdout
