"""Runs whose workdir is in a bucket, with a fake Google Cloud Storage server."""

import fcntl
import json
import pathlib
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

pytest.importorskip("gcsfs", reason="needs gcsfs, for gs://")

DEBUG = "--config=experiments/gru_lm/config.py:debug"
RUN = "gs://mine/runs/one"


class Bucket:
  """`bucket(program, *args)` runs a program that is connected to the fake server."""

  def __init__(self, programs, folder, port):
    self._programs, self._url = programs, f"http://127.0.0.1:{port}"
    self.environment = {
        "STORAGE_EMULATOR_HOST": self._url,
        "TENSORSTORE_GCS_HTTP_URL": self._url,
        "GOOGLE_AUTH_TOKEN_FOR_TESTING": "any",
        "XDG_CACHE_HOME": str(folder / "cache"),
    }

  def __call__(self, *args, **options):
    return self._programs(*args, timeout=240, **self.environment, **options)

  def generations(self, prefix=""):
    """{name of an object: its generation, which changes with every write}."""
    with urlopen(f"{self._url}/storage/v1/b/mine/o?prefix={prefix}") as answer:
      return {item["name"]: item["generation"] for item in json.load(answer)["items"]}

  def read(self, name):
    with urlopen(f"{self._url}/storage/v1/b/mine/o/{name}?alt=media") as answer:
      return answer.read()


@pytest.fixture
def bucket(request, programs, tmp_path):
  program = [sys.executable, str(pathlib.Path(__file__).with_name("fake_gcs.py"))]
  program += getattr(request, "param", [])
  server = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
  yield Bucket(programs, tmp_path, server.stdout.readline().strip())
  server.kill()
  server.wait()


@pytest.mark.full
def test_a_run_in_a_bucket_equals_a_local_run(bucket, programs, trained, tmp_path):
  command = ("launch.train", DEBUG, f"--workdir={RUN}")
  stopped = bucket(*command, signal_at=(20, signal.SIGTERM))
  assert stopped.code == 128 + signal.SIGTERM and "saved at step 20" in stopped.err, stopped
  # Another machine, which has no local files of the run, resumes it.
  bucket.environment["XDG_CACHE_HOME"] = str(tmp_path / "other")
  finished = bucket(*command)
  assert finished.code == 0 and "resuming from step 20" in finished.err, finished
  assert f"trained: {RUN}" in finished.out
  alone = shutil.copytree(trained("experiments.gru_lm:debug"), tmp_path / "alone")
  for name in ("metrics.jsonl", "config.json", "samples.txt", "curves.png"):
    assert bucket.read(f"runs/one/{name}".replace("/", "%2F")) == (alone / name).read_bytes(), name
  before = names = bucket.generations("runs/one/")
  assert any(name.startswith("runs/one/checkpoints/40/") for name in names)
  assert any(name.startswith("runs/one/tensorboard/") for name in names)
  assert not {name for name in names if name.endswith(("/lock", ".address"))}
  # Its evaluation is that of the local run.
  ours, theirs = (
      run("launch.evaluate", f"--workdir={workdir}", "--split=test").out.splitlines()[1:]
      for run, workdir in ((bucket, RUN), (programs, alone))
  )
  assert ours == theirs and len(ours) > 3
  # What is refused names the address, and no local folder.
  changed = bucket("launch.train", DEBUG, f"--workdir={RUN}", "--config.seed=1")
  last = changed.err.splitlines()[-1]
  assert last.startswith(f"workdir {RUN} is a run with another config: seed (0 -> 1)"), changed
  wide = ("--config.model.d_hidden=24", "--override")
  changed = bucket("launch.train", DEBUG, f"--workdir={RUN}", *wide)
  last = changed.err.splitlines()[-1]
  assert last.startswith(f"workdir {RUN} is a run with another model"), changed
  lacking = bucket("launch.predict", f"--workdir={RUN}-2", "line")
  last = lacking.err.splitlines()[-1]
  assert last.startswith(f"workdir {RUN}-2 is not a run"), lacking
  assert bucket.generations("runs/one/") == before  # It wrote nothing: the run may be training.


@pytest.mark.full
def test_one_program_of_a_machine_at_a_time_trains_in_a_bucket(bucket, tmp_path):
  short = (DEBUG, "--config.training.total_steps=6", f"--workdir={RUN}")
  assert bucket("launch.train", *short).code == 0
  (lock,) = tmp_path.glob("cache/dlx/workdirs/*/lock")
  with lock.open("w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    finished = bucket("launch.train", *short)
  assert finished.code == 2 and "another process is training in" in finished.err, finished


@pytest.fixture
def two_machines(bucket, programs, tmp_path):
  """(a running training, `second(steps)`: the same command on another machine)."""

  def command(steps, folder):
    bucket.environment["XDG_CACHE_HOME"] = str(tmp_path / folder)
    # Frequent checkpoints, so that the first run soon detects that it lost its lease.
    often = [f"--config.training.{name}=2" for name in ("steps_per_execution", "save_every")]
    # The length of a run determines its schedule, so another one needs --override.
    return ["launch.train", DEBUG, f"--config.training.total_steps={steps}", *often,
            f"--workdir={RUN}", "--override"]  # fmt: skip

  first = programs.begin(*command(10**6, "one"), **bucket.environment)
  while not any("/checkpoints/" in name for name in bucket.generations("runs/one/")):
    assert first.poll() is None, first.communicate()
    time.sleep(0.2)
  return first, lambda steps: bucket(*command(steps, "two"))


def starts(bucket):
  return len(json.loads(bucket.read("runs%2Fone%2Frun.json")))


def saved(bucket):
  return {int(name.split("/")[3].split(".")[0])
          for name in bucket.generations("runs/one/checkpoints/")}  # fmt: skip


@pytest.mark.full
def test_one_machine_at_a_time_trains_in_a_bucket(bucket, two_machines):
  first, second = two_machines
  refused = second(10**6)
  assert refused.code == 2 and f"another run is training in workdir={RUN}" in refused.err, refused
  assert first.poll() is None and starts(bucket) == 1
  first.send_signal(signal.SIGTERM)
  _, err = first.communicate(timeout=120)
  assert first.returncode == 128 + signal.SIGTERM, err
  step = int(re.search(r"saved at step (\d+)", err)[1])
  resumed = second(step)  # Without waiting: the first run has released its lease.
  assert resumed.code == 0 and f"already trained to step {step}" in resumed.err, resumed
  assert "was not released" not in resumed.err and starts(bucket) == 2
  assert not {"runs/one/.lease", "runs/one/.heartbeat"} & set(bucket.generations("runs/one/"))


@pytest.mark.full  # Waits for the heartbeat timeout of a minute.
def test_a_run_ends_after_another_machine_took_over_its_bucket(bucket, two_machines):
  first, second = two_machines
  first.send_signal(signal.SIGSTOP)
  last = max(saved(bucket)) + 10  # Later than any save that the first run has in flight.
  taken = second(last)
  assert taken.code == 0 and "was not released by the previous run" in taken.err, taken
  steps = saved(bucket)
  first.send_signal(signal.SIGCONT)
  _, err = first.communicate(timeout=120)
  assert first.returncode == 2 and f"another run has taken over workdir={RUN}" in err, err
  # The save in flight when it was stopped is completed, and so is the one queued behind it.
  assert len(saved(bucket) - steps) <= 2 and max(saved(bucket)) == last
  again = second(last + 2)
  assert again.code == 0 and f"resuming from step {last}" in again.err, again


@pytest.mark.full  # gcsfs retries for half a minute.
def test_an_unreachable_bucket_is_one_line(programs, tmp_path):
  environment = {
      "STORAGE_EMULATOR_HOST": "http://127.0.0.1:9", "XDG_CACHE_HOME": str(tmp_path),
  }  # fmt: skip
  finished = programs("launch.train", DEBUG, f"--workdir={RUN}", **environment)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert f"workdir={RUN} cannot be reached" in finished.err
  assert "gcloud auth application-default login" in finished.err


@pytest.mark.full
def test_an_unresponsive_bucket_is_one_line(programs, tmp_path):
  with socket.create_server(("127.0.0.1", 0)) as silent:  # It never accepts.
    environment = {
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{silent.getsockname()[1]}",
        "XDG_CACHE_HOME": str(tmp_path),
    }
    finished = programs("launch.train", DEBUG, f"--workdir={RUN}", timeout=40, **environment)
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert f"workdir={RUN} cannot be reached" in finished.err


@pytest.mark.parametrize("bucket", [["--anonymous"]], indirect=True)
@pytest.mark.parametrize("program", ["train", "evaluate"])
def test_missing_gcs_credentials_are_one_line(bucket, program):
  flags = [DEBUG] if program == "train" else []
  finished = bucket(f"launch.{program}", *flags, f"--workdir={RUN}")
  assert finished.code == 2 and finished.err.count("\n") == 1, finished
  assert f"workdir={RUN} cannot be reached: Anonymous caller" in finished.err
  assert "gcloud auth application-default login" in finished.err
