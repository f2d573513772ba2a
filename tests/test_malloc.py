"""Programs start over once, with memory that stays theirs, and only where that is of use."""

import os
import platform
import subprocess
import sys

import pytest

from dlx import malloc

# Takes and returns 64 MiB ten times, and prints how many pages had to be handed out.
TEN_TIMES = """
import ctypes, os, resource, sys
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def take():
  block = libc.malloc(2**26)
  libc.memset(block, 1, 2**26)
  libc.free(block)
take()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
  take()
print(os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *sys.argv[1:])
"""


@pytest.fixture
def restarts(monkeypatch):
  """The commands that this process was replaced with, had it been `python -m launch.train`."""
  commands = []
  monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
  monkeypatch.setattr(sys, "platform", "linux")
  monkeypatch.setattr(sys, "argv", ["-m", "--list"])
  monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "-m", "launch.train", "--list"])
  monkeypatch.delenv(malloc.VARIABLE, raising=False)
  yield commands
  os.environ.pop(malloc.VARIABLE, None)


def test_the_same_command_starts_over_once(restarts):
  malloc.restart()
  malloc.restart()
  assert restarts == [[sys.executable, "-u", "-m", "launch.train", "--list"]]


def test_nothing_happens_on_other_systems(restarts, monkeypatch):
  monkeypatch.setattr(sys, "platform", "darwin")
  malloc.restart()
  assert not restarts


@pytest.mark.parametrize("own", ["glibc.malloc.check=0", ""])
def test_a_users_own_settings_stay(restarts, monkeypatch, own):
  monkeypatch.setenv(malloc.VARIABLE, own)
  malloc.restart()
  assert not restarts and os.environ[malloc.VARIABLE] == own


def test_a_process_that_imports_a_program_is_left_alone(restarts, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["a_script.py"])
  malloc.restart()
  assert not restarts


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
def test_a_program_keeps_its_memory_arguments_and_process_id(tmp_path):
  package = tmp_path / "package"
  package.mkdir()
  (package / "__init__.py").write_text(
      "import os\nfrom dlx import malloc\nprint(os.getpid(), flush=True)\nmalloc.restart()\n"
  )
  (package / "program.py").write_text(TEN_TIMES)
  environment = {k: v for k, v in os.environ.items() if k != malloc.VARIABLE}
  environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])

  def run(**settings):
    done = subprocess.run(
        [sys.executable, "-m", "package.program", "--a", "b c"],
        capture_output=True, text=True, env=environment | settings, timeout=60, check=True,
    )  # fmt: skip
    return [line.split() for line in done.stdout.splitlines()]

  [first], [again], [process, pages, *arguments] = run()
  assert first == again == process and arguments == ["--a", "b", "c"]
  _, [_, pages_without, *_] = run(GLIBC_TUNABLES="")
  assert int(pages) < 10 < int(pages_without)
