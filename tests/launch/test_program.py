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
program.run(lambda: print("tr\\xe8s bon, caf\\udce9"), lambda: None)
"""


@pytest.mark.full
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


def test_workdirs_and_files_may_begin_with_a_tilde(programs, trained, tmp_path):
  (tmp_path / "run").symlink_to(trained("experiments.gru_lm:debug"))
  (tmp_path / "text.txt").write_text("hello world, a small text to learn\n" * 200)
  home = {"HOME": str(tmp_path), "folder": str(tmp_path)}
  sampled = programs("launch.sample", "--workdir=~/run", "--length=5", **home)
  assert sampled.code == 0, sampled
  exported = programs("launch.export", "--workdir=~/run", "--output=~/out", **home)
  assert exported.code == 0 and (tmp_path / "out").is_dir(), exported
  config = "--config=experiments/gru_lm/config.py:debug"
  flags = (config, "--config.training.total_steps=0", "--config.data.text=~/text.txt")
  refused = programs("launch.train", *flags, "--workdir=~/run", **home)
  assert f"workdir {tmp_path}/run is a run with another config" in refused.err, refused
  assert not (tmp_path / "~").exists()


LONG = "a" * 300


@pytest.mark.parametrize("program, flags", [
    ("train", ["--config=experiments/gru_lm/config.py:debug", f"--workdir={LONG}"]),
    ("train", [f"--config={LONG}.py"]),
    ("train", ["--config=experiments/gru_lm/config.py:debug", f"--config.data.text={LONG}"]),
    ("compare", [LONG, LONG]),
    ("sweep", ["--config=experiments/gru_lm/config.py:debug", "--workdir=sweep",
               f"--grid=data.text={LONG},b", "--dry_run"]),
])  # fmt: skip
def test_a_name_that_is_too_long_gives_one_line(programs, tmp_path, program, flags):
  flags = [flag.replace("=experiments", f"={programs_lib.ROOT}/experiments") for flag in flags]
  finished = programs(f"launch.{program}", *flags, folder=tmp_path)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert "too long" in finished.err
  assert not list(tmp_path.iterdir())
