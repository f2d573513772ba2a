"""Programs restart once with the malloc settings, and other processes never do."""

import os
import platform
import subprocess
import sys
import types

import pytest

from dlx import malloc

# Allocates and frees 64 MiB ten times, and prints the number of page faults.
PROGRAM = """
import ctypes, os, resource, sys
from package import helper
print(os.getpid(), flush=True)
helper.main()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def allocate():
  block = libc.malloc(2**26)
  libc.memset(block, 1, 2**26)
  libc.free(block)
allocate()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
  allocate()
print(os.getpid(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, *sys.argv[1:])
"""


@pytest.fixture
def restarts(monkeypatch):
  """The restarts of this process, as if it were `python -m launch.train` on Linux."""
  commands = []
  monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
  monkeypatch.setattr(sys, "platform", "linux")
  monkeypatch.setattr(sys, "gettrace", lambda: None)
  monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "-m", "launch.train", "--list"])
  monkeypatch.setitem(sys.modules, "__main__", main_module("launch.train"))
  monkeypatch.setitem(globals(), "__package__", "launch.cli")
  monkeypatch.delenv(malloc.VARIABLE, raising=False)
  yield commands
  os.environ.pop(malloc.VARIABLE, None)


def main_module(name):
  """A module as `python -m` has it, or a script's when the name is None."""
  spec = None if name is None else types.SimpleNamespace(name=name)
  return types.SimpleNamespace(__spec__=spec)


def test_a_program_restarts_once_with_the_same_command(restarts):
  malloc.restart()
  malloc.restart()
  assert restarts == [[sys.executable, "-u", "-m", "launch.train", "--list"]]


def test_other_systems_do_not_restart(restarts, monkeypatch):
  monkeypatch.setattr(sys, "platform", "darwin")
  malloc.restart()
  assert not restarts


def test_a_debugger_keeps_its_breakpoints(restarts, monkeypatch):
  monkeypatch.setattr(sys, "gettrace", lambda: lambda *_: None)
  malloc.restart()
  assert not restarts and malloc.VARIABLE not in os.environ


@pytest.mark.parametrize("tool", ["pdb -m", "trace --trace --module", "cProfile -m"])
def test_a_program_below_a_tool_runs_once(tmp_path, tool):
  package = tmp_path / "package"
  package.mkdir()
  (package / "__init__.py").touch()
  (package / "__main__.py").write_text(
      "from dlx import malloc\n"
      "note = lambda text: open('notes', 'a').write(text + ' ')\n"
      "note('began')\nmalloc.restart()\nnote('ran')\n"
  )
  environment = {k: v for k, v in os.environ.items() if k != malloc.VARIABLE}
  environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
  subprocess.run(
      [sys.executable, "-m", *tool.split(), "package.__main__"],
      input="break 5\ncontinue\ncontinue\nquit\n",
      capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=60,
  )  # fmt: skip
  assert (tmp_path / "notes").read_text() == "began ran "


@pytest.mark.parametrize("own", ["glibc.malloc.check=0", ""])
def test_settings_of_the_user_are_kept(restarts, monkeypatch, own):
  monkeypatch.setenv(malloc.VARIABLE, own)
  malloc.restart()
  assert not restarts and os.environ[malloc.VARIABLE] == own


@pytest.mark.parametrize("name", [None, "pytest.__main__", "launcher", "__main__"])
def test_a_process_that_only_calls_a_program_does_not_restart(restarts, monkeypatch, name):
  monkeypatch.setitem(sys.modules, "__main__", main_module(name))
  malloc.restart()
  assert not restarts


def test_a_call_outside_of_any_package_does_not_restart(restarts, monkeypatch):
  monkeypatch.setitem(globals(), "__package__", "")
  malloc.restart()
  assert not restarts


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="these are settings of glibc")
@pytest.mark.parametrize("name", ["package.program", "package"])
def test_a_restarted_program_keeps_its_memory_arguments_and_process_id(tmp_path, name):
  package = tmp_path / "package"
  package.mkdir()
  (package / "__init__.py").touch()
  (package / "helper.py").write_text(
      "from dlx import malloc\ndef main():\n  malloc.restart()\n"
  )
  (package / ("__main__.py" if name == "package" else "program.py")).write_text(PROGRAM)
  environment = {k: v for k, v in os.environ.items() if k != malloc.VARIABLE}
  environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])

  def run(**settings):
    done = subprocess.run(
        [sys.executable, "-m", name, "--a", "b c"],
        capture_output=True, text=True, env=environment | settings, timeout=60, check=True,
    )  # fmt: skip
    return [line.split() for line in done.stdout.splitlines()]

  [first], [again], [process, pages, *arguments] = run()
  assert first == again == process and arguments == ["--a", "b", "c"]
  _, [_, pages_without, *_] = run(GLIBC_TUNABLES="")
  assert int(pages) < 10 < int(pages_without)


def test_a_program_that_cannot_be_restarted_continues(restarts, monkeypatch):
  def refuse(path, command):
    raise PermissionError(13, "Permission denied")

  monkeypatch.setattr(os, "execv", refuse)
  malloc.restart()
  assert restarts == []
