"""Programs start over with huge pages once, and only where that is of use."""

import os
import subprocess
import sys

import pytest

from dlx import huge_pages


@pytest.fixture
def restarts(monkeypatch):
  """The commands that this process was replaced with, had it been `python -m launch.train`."""
  commands = []
  monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
  monkeypatch.setattr(sys, "argv", ["-m", "--list"])
  monkeypatch.setattr(sys, "orig_argv", ["python", "-u", "-m", "launch.train", "--list"])
  monkeypatch.delenv(huge_pages.VARIABLE, raising=False)
  yield commands
  os.environ.pop(huge_pages.VARIABLE, None)


def test_the_same_command_starts_over_once(restarts, tmp_path):
  mode = tmp_path / "enabled"
  mode.write_text("always [madvise] never\n")
  huge_pages.restart(mode)
  huge_pages.restart(mode)
  assert restarts == [[sys.executable, "-u", "-m", "launch.train", "--list"]]
  assert os.environ["GLIBC_TUNABLES"] == "glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("said", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_happens_where_nobody_need_ask(restarts, tmp_path, said):
  mode = tmp_path / "enabled"
  if said:
    mode.write_text(said)
  huge_pages.restart(mode)
  assert not restarts


def test_a_users_own_settings_stay(restarts, tmp_path, monkeypatch):
  mode = tmp_path / "enabled"
  mode.write_text("always [madvise] never")
  monkeypatch.setenv(huge_pages.VARIABLE, "glibc.malloc.check=0")
  huge_pages.restart(mode)
  assert not restarts and os.environ[huge_pages.VARIABLE] == "glibc.malloc.check=0"


def test_a_process_that_imports_a_program_is_left_alone(restarts, tmp_path, monkeypatch):
  mode = tmp_path / "enabled"
  mode.write_text("always [madvise] never")
  monkeypatch.setattr(sys, "argv", ["a_script.py"])
  huge_pages.restart(mode)
  assert not restarts


def test_a_program_has_its_arguments_and_its_process_id_after_it_started_over(tmp_path):
  (tmp_path / "enabled").write_text("always [madvise] never")
  package = tmp_path / "package"
  package.mkdir()
  (package / "__init__.py").write_text(
      "import os, pathlib\nfrom dlx import huge_pages\nprint(os.getpid(), flush=True)\n"
      f"huge_pages.restart(pathlib.Path({str(tmp_path / 'enabled')!r}))\n"
  )
  (package / "program.py").write_text(
      "import os, sys\nprint(os.environ['GLIBC_TUNABLES'], *sys.argv[1:])\n"
  )
  environment = {k: v for k, v in os.environ.items() if k != huge_pages.VARIABLE}
  environment["PYTHONPATH"] = os.pathsep.join([str(tmp_path), *sys.path])
  done = subprocess.run(
      [sys.executable, "-m", "package.program", "--a", "b c"],
      capture_output=True, text=True, env=environment, timeout=60,
  )  # fmt: skip
  first, again, said = done.stdout.splitlines()
  assert first == again and said == "glibc.malloc.hugetlb=1 --a b c", done
