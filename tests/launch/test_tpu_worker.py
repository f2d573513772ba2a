"""The worker script of a TPU slice: training survives the end of the connection."""

import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a TPU worker runs Linux")

SCRIPT = pathlib.Path(__file__).resolve().parents[2] / "launch" / "clusters" / "tpu_worker.sh"
# Replaces Python: prints its arguments, trains until there is a file "end" with its exit code,
# and saves on SIGTERM.
PYTHON = """#!/bin/bash
printf '<%s>' "$@"; echo
echo start >> starts
trap 'echo saved; exit 143' TERM
while [ ! -e end ]; do sleep 0.05; done
echo trained
exit $(cat end)
"""
TRAIN = ("train", "--config=a.py:b", "--config.data.text=my book.txt")


class Worker:
  """`worker(*arguments)` opens a connection to it and runs the script there."""

  def __init__(self, home: pathlib.Path, from_a_terminal):
    self.folder, self._connections = home / "dlx", []
    self._from_a_terminal = from_a_terminal
    (self.folder / "launch" / "clusters").mkdir(parents=True)
    shutil.copy(SCRIPT, self.folder / "launch" / "clusters")
    python = self.folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(stat.S_IRWXU)

  def __call__(self, *arguments, number=0):
    command = self._from_a_terminal(["bash", "dlx/launch/clusters/tpu_worker.sh", *arguments])
    self._connections.append(subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        cwd=self.folder.parent, env={**os.environ, "TPU_WORKER_ID": str(number)},
    ))  # fmt: skip
    return self._connections[-1]

  def starts(self):
    """The number of trainings that were started; waits for the first."""
    end, path = time.monotonic() + 20, self.folder / "starts"
    while not (path.exists() and path.read_text()):
      assert time.monotonic() < end
      time.sleep(0.02)
    return len(path.read_text().split())

  def end(self, code):
    (self.folder / "new").write_text(str(code))
    (self.folder / "new").rename(self.folder / "end")

  def close(self):
    self.end(0)
    for connection in self._connections:
      connection.communicate(timeout=20)


@pytest.fixture
def worker(tmp_path, from_a_terminal):
  new = Worker(tmp_path, from_a_terminal)
  yield new
  new.close()


STARTED = "".join(f"<{a}>" for a in ("-m", "launch.train", *TRAIN[1:], "--distributed")) + "\n"


@pytest.mark.full
@pytest.mark.parametrize("number, shown", [(0, STARTED + "trained\n"), (3, "")], ids=[0, 3])
def test_worker_0_shows_its_log_and_every_worker_returns_its_exit_code(worker, number, shown):
  connection = worker(*TRAIN, number=number)
  assert worker.starts() == 1 and worker("busy").wait(20) == 0
  worker.end(7)
  out, err = connection.communicate(timeout=20)
  assert (out, err, connection.returncode) == (shown, "", 7)
  assert worker("busy").wait(20) != 0


def test_training_survives_the_connection_and_the_same_command_reattaches(worker):
  first = worker(*TRAIN)
  assert worker.starts() == 1
  os.killpg(first.pid, signal.SIGHUP)
  first.communicate(timeout=20)
  second = worker(*TRAIN)
  time.sleep(0.3)
  assert worker("busy").wait(20) == 0
  worker.end(0)
  out, _ = second.communicate(timeout=20)
  assert (out, second.returncode) == (STARTED + "trained\n", 0)
  assert worker.starts() == 1


def test_after_the_end_the_same_command_trains_again(worker):
  worker.end(1)
  assert worker(*TRAIN).wait(20) == 1
  worker.end(0)
  again = worker(*TRAIN)
  out, _ = again.communicate(timeout=20)
  assert (out, again.returncode) == (STARTED + "trained\n", 0)
  assert worker.starts() == 2
  assert (worker.folder / "train.before.log").read_text() == STARTED + "trained\n"


def test_a_process_id_reused_by_another_program_is_not_mistaken_for_training(worker):
  other = subprocess.Popen(["sleep", "60"])
  (worker.folder / "train.pid").write_text(str(other.pid))
  assert worker("busy").wait(20) != 0
  assert worker("stop").wait(20) == 0 and other.poll() is None
  other.kill()
  other.wait()


@pytest.mark.full
def test_training_killed_together_with_its_shell_is_a_failure(worker):
  worker.end(0)
  assert worker(*TRAIN).wait(20) == 0
  (worker.folder / "end").unlink()
  (worker.folder / "starts").unlink()
  again = worker(*TRAIN)
  assert worker.starts() == 1
  os.killpg(int((worker.folder / "train.pid").read_text()), signal.SIGKILL)
  again.communicate(timeout=20)
  assert again.returncode == 137


def test_another_training_is_refused_while_one_is_running(worker):
  first = worker(*TRAIN)
  assert worker.starts() == 1
  other = worker("train", "--config=a.py:c")
  _, err = other.communicate(timeout=20)
  assert other.returncode == 2 and err.count("\n") == 1
  assert "another training is running here" in err
  assert "--config=a.py:b" in err and first.poll() is None and worker.starts() == 1


def test_stop_waits_until_the_training_has_saved(worker):
  first = worker(*TRAIN)
  assert worker.starts() == 1
  assert worker("stop").wait(20) == 0
  assert worker("busy").wait(20) != 0
  out, _ = first.communicate(timeout=20)
  assert (out, first.returncode) == (STARTED + "saved\n", 143)
  nothing = worker("stop")
  out, _ = nothing.communicate(timeout=20)
  assert nothing.returncode == 0 and out == "no training is running here\n"
