"""Programs whose user, or the reader of whose output, leaves."""

import os
import signal
import subprocess
import sys
import time

import programs as programs_lib
import pytest

LONG = """
import sys
from dlx import exits
sys.exit(exits.code_of(lambda: print("line\\n" * 100_000)))
"""
SHORT = """
import sys, time
from dlx import exits
sys.exit(exits.code_of(lambda: time.sleep(0.3) or print("one line")))
"""
RICH = """
import rich, sys
from dlx import exits
sys.exit(exits.code_of(lambda: [rich.print("a line") for _ in range(50_000)] and 0))
"""
BOTH = """
import sys
from dlx import exits
def main():
  sys.stderr.write("line\\n" * 100_000)
sys.exit(exits.code_of(main))
"""


def start(*arguments: str, **options) -> subprocess.Popen:
  command = programs_lib.with_default_signals([sys.executable, *arguments])
  return subprocess.Popen(
      command, stdout=subprocess.PIPE, cwd=programs_lib.ROOT, env=programs_lib.ENVIRONMENT,
      text=True, **{"stderr": subprocess.PIPE, **options},
  )  # fmt: skip


@pytest.mark.parametrize("arguments", [
    ("-c", LONG), ("-c", SHORT), ("-c", RICH), ("-m", "launch.train", "--help"),
    ("-m", "dlx.gradcheck", "--help"),
], ids=["long", "short", "rich", "launch.train --help", "dlx.gradcheck --help"])  # fmt: skip
def test_a_reader_that_leaves_ends_a_program_silently(arguments):
  process = start(*arguments)
  process.stdout.close()
  assert process.stderr.read() == "" and process.wait(60) in (141, 0)


def test_a_reader_of_both_outputs_may_leave():
  process = start("-c", BOTH, stderr=subprocess.STDOUT)
  process.stdout.close()
  assert process.wait(60) == 141


INTERRUPTED = """
import os, signal, sys, time
from dlx import exits
from dlx.training.signals import Preemption

def main():
  with Preemption() as preemption:
    print("started", flush=True)
    while not preemption.received:
      time.sleep(0.01)
    print("saving", flush=True)
    while True:
      time.sleep(0.01)

sys.exit(exits.code_of(main))
"""


def test_the_first_interrupt_of_a_training_is_recorded_and_the_second_ends_it():
  process = start("-c", INTERRUPTED)
  for word in ("started", "saving"):
    assert process.stdout.readline() == f"{word}\n"
    process.send_signal(signal.SIGINT)
  assert process.wait(60) == 130
  assert process.stderr.read() == "\nSIGINT: saving, then stopping ...\nstopped\n"


LOST = """
import os, signal, sys
from dlx import exits
from dlx.training.signals import Preemption

class Dying:
  def __del__(self):  # Python ignores what is raised here.
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):
      pass

def main():
  sys.unraisablehook = lambda _: None
  Dying()
  print("continues", flush=True)
  with Preemption():
    print("trains")

sys.exit(exits.code_of(main))
"""


def test_an_interrupt_before_training_is_not_lost_in_a_callback():
  process = start("-c", LOST)
  out, err = process.communicate(timeout=60)
  assert (process.returncode, out, err) == (130, "continues\n", "stopped\n")


IMPORTING = """
import os, sys
from dlx import exits

def main():
  import swallows
  print("continues")

sys.exit(exits.code_of(main))
"""


def test_an_interrupt_is_not_lost_in_a_module_that_catches_everything(tmp_path):
  (tmp_path / "swallows.py").write_text(
      "import os, signal, time\n"
      "try:\n  os.kill(os.getpid(), signal.SIGINT)\n  time.sleep(0.1)\nexcept:\n  pass\n"
  )
  path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{programs_lib.ROOT}"}
  done = subprocess.run(
      [sys.executable, "-c", IMPORTING], capture_output=True, text=True,
      env={**programs_lib.ENVIRONMENT, **path},
  )  # fmt: skip
  assert (done.returncode, done.stdout, done.stderr) == (130, "", "stopped\n")


AT_EXIT = """
import atexit, os, signal, sys
from dlx import exits

def main():
  os.kill(os.getpid(), signal.SIGINT)

atexit.register(lambda: os.kill(os.getpid(), signal.SIGINT))
sys.exit(exits.code_of(main))
"""


def test_interrupts_during_the_exit_show_no_traceback():
  process = start("-c", AT_EXIT)
  assert process.communicate(timeout=60) == ("", "stopped\n")
  assert process.returncode == 130


def test_an_interrupt_while_a_program_is_imported_gives_one_line(tmp_path):
  (tmp_path / "absl").mkdir()  # Found before the real one, and slow to import.
  mark = tmp_path / "mark"
  (tmp_path / "absl" / "__init__.py").write_text(
      f"import pathlib, time\npathlib.Path({str(mark)!r}).touch()\n"
      "try:\n  time.sleep(60)\nexcept:\n  pass  # As in some packages.\n"
  )
  path = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{programs_lib.ROOT}"}
  command = programs_lib.with_default_signals([sys.executable, "-m", "launch.predict"])
  process = subprocess.Popen(
      command, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
      env={**programs_lib.ENVIRONMENT, **path},
  )  # fmt: skip
  programs_lib.wait_for(mark.exists)
  time.sleep(0.05)
  process.send_signal(signal.SIGINT)
  assert process.communicate(timeout=60)[1] == "stopped\n"
  assert process.returncode == 130
