"""launch.clusters.tpu with a fake gcloud that records its arguments."""

import json
import os
import signal
import stat
import sys
import time

import pytest

GCLOUD = """#!{python}
import json, pathlib, sys, time
folder = pathlib.Path({folder!r})
with (folder / "calls").open("a") as file:
  file.write(json.dumps(sys.argv[1:]) + "\\n")
answers = json.loads((folder / "answers").read_text())
queue = answers.get(sys.argv[4], [""])
answer = queue.pop(0) if len(queue) > 1 else queue[0]
(folder / "answers").write_text(json.dumps(answers))
if answer.startswith("error: "):
  print(answer[7:], file=sys.stderr)
  sys.exit(1)
if answer == "sleep":
  time.sleep(60)
print(answer)
"""
TRAIN = ("--config=experiments/gru_lm/config.py:debug", "--workdir=gs://mine/run")
NONE = "error: NOT_FOUND: no such resource"


class Google:
  """`google(arguments, describe=[...], ssh=[...])` runs launch.clusters.tpu with these answers."""

  def __init__(self, folder, programs):
    self._folder, self._programs = folder, programs
    program = folder / "bin" / "gcloud"
    program.parent.mkdir()
    program.write_text(GCLOUD.format(python=sys.executable, folder=str(folder)))
    program.chmod(stat.S_IRWXU)

  def __call__(self, *arguments, **answers):
    return self._start(self._programs, arguments, answers)

  def begin(self, *arguments, **answers):
    return self._start(self._programs.begin, arguments, answers)

  def _start(self, how, arguments, answers):
    (self._folder / "answers").write_text(json.dumps(answers))
    (self._folder / "calls").write_text("")
    flags = ("--name=small", "--zone=us-central1-a", "--poll=0.01")
    path = f"{self._folder / 'bin'}:{os.environ['PATH']}"
    return how("launch.clusters.tpu", *flags, *arguments, PATH=path)

  @property
  def calls(self):
    return [json.loads(line) for line in (self._folder / "calls").read_text().splitlines()]

  @property
  def verbs(self):
    return [call[3] for call in self.calls]


@pytest.fixture
def google(tmp_path, programs):
  return Google(tmp_path, programs)


def test_run_creates_the_slice_waits_installs_trains_on_all_workers_and_deletes(google):
  finished = google(
      "--yes", "--spot", "--delete", "run", "--", *TRAIN,
      describe=[NONE, "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"],
  )  # fmt: skip
  assert finished.code == 0, finished
  assert google.verbs == [
      "describe", "create", "describe", "describe", "describe", "scp", "ssh", "ssh", "delete",
  ]  # fmt: skip
  create, scp, install, train = (google.calls[i] for i in (1, 5, 6, 7))
  assert {"small", "--node-id=small", "--spot", "--accelerator-type=v5litepod-16"} < set(create)
  assert all("--zone=us-central1-a" in call for call in google.calls)
  assert all("--worker=all" in call for call in (scp, install, train))
  command = next(a for a in train if a.startswith("--command="))
  assert command == f"--command=bash dlx/launch/clusters/tpu_worker.sh train {' '.join(TRAIN)}"
  lines = [line for line in finished.out.splitlines() if line]
  assert lines == ["small: WAITING_FOR_RESOURCES", "small: PROVISIONING"]


def test_an_existing_slice_is_used_and_kept(google):
  assert google("run", "--", *TRAIN, describe=["ACTIVE"]).code == 0
  assert "create" not in google.verbs and "delete" not in google.verbs


def test_a_preempted_slice_is_recreated_and_training_resumes(google):
  finished = google(
      "--yes", "run", "--", *TRAIN,
      describe=["ACTIVE", "ACTIVE", "SUSPENDED", "SUSPENDED", "PROVISIONING", "ACTIVE"],
      ssh=["", "error: connection lost", "", ""],
  )  # fmt: skip
  assert finished.code == 0, finished
  assert google.verbs.count("create") == 1 and google.verbs.count("delete") == 1
  trainings = [call for call in google.calls if "tpu_worker.sh train" in str(call)]
  assert len(trainings) == 2 and trainings[0] == trainings[1]
  assert "small was preempted (1); recreating it" in finished.out


@pytest.mark.full
def test_the_number_of_preemptions_is_limited(google):
  states = [s for _ in range(3) for s in ("ACTIVE", "ACTIVE", "SUSPENDED")]
  finished = google(
      "--max_preemptions=2", "run", "--", *TRAIN, describe=states, ssh=["error: lost"]
  )
  assert finished.code == 2
  assert "preempted 3 times; the same command resumes" in finished.err


@pytest.mark.sampled(3)
@pytest.mark.parametrize("answers, message", [
    ({"describe": ["ACTIVE"], "ssh": ["", "error: exit 1"]}, "training on small failed: exit 1"),
    ({"describe": [NONE], "create": ["error: Quota exceeded"]}, "gcloud: Quota exceeded"),
    ({"describe": [NONE, "FAILED"]}, "small is FAILED and will not become ACTIVE"),
    ({"describe": ["error: no zone us-x"]}, "gcloud: no zone us-x"),
    ({"describe": ["ACTIVE", "ACTIVE", "error: no network"], "ssh": ["", "error: broken pipe"]},
     "failed: broken pipe; launch.clusters.tpu logs shows its log. If only the connection was"),
])  # fmt: skip
def test_failures_are_reported_in_one_line(google, answers, message):
  finished = google("--yes", "run", "--", *TRAIN, **answers)
  assert finished.code == 2 and message in finished.err, finished
  assert finished.err.count("\n") == 1


@pytest.mark.parametrize("arguments, message", [
    ((), "first argument: expected run|create|status|logs|stop|delete, got ''"),
    (("fly",), "run|create|status|logs|stop|delete, got 'fly'"),
    (("status", "x"), "status: unexpected argument 'x'"),
    (("run",), "nothing to train"),
    (("run", "--", TRAIN[0], "--workdir=runs/x"), "would be lost with the slice"),
    (("run", "--", TRAIN[0]), "--workdir is missing"),
    (("run", "--", *TRAIN, "--config.sed=1"), "did you mean seed"),
    (("status", "--name=--project=x"), "--name='--project=x': expected letters"),
    (("status", "--zone=a\nb"), "--zone='a\\nb': expected letters"),
    (("run", "--", TRAIN[0], "--workdir=gs://b/a\nb"), "--workdir has the control character"),
])  # fmt: skip
def test_invalid_input_is_refused_before_gcloud_is_called(google, arguments, message):
  finished = google(*arguments, describe=["ACTIVE"])
  assert finished.code == 2 and message in finished.err and not google.calls, finished


def test_no_slice_is_created_without_confirmation(google):
  finished = google("create", describe=[NONE])
  assert finished.code == 2 and "no slice was created; confirm with --yes" in finished.err
  assert google.verbs == ["describe"]


def test_a_dry_run_prints_every_command_and_needs_no_gcloud(programs):
  flags = ("--name=small", "--zone=z", "--dry_run", "--delete")
  finished = programs("launch.clusters.tpu", *flags, "run", "--", *TRAIN, PATH="/nowhere")
  lines = finished.out.splitlines()
  verbs = [line.split()[4] for line in lines if line.startswith("gcloud ")]
  assert verbs == ["create", "describe", "scp", "ssh", "ssh", "delete"], finished
  assert any(line.startswith("git -C ") and "| tar -czf " in line for line in lines)


def test_a_missing_gcloud_is_reported_with_installation_advice(programs):
  finished = programs("launch.clusters.tpu", "--name=a", "--zone=z", "status", PATH="/nowhere")
  assert finished.code == 2 and "install the Google Cloud CLI" in finished.err


@pytest.mark.full
def test_ctrl_c_reports_that_training_continues(google):
  running = google.begin("run", "--", *TRAIN, describe=["ACTIVE"], ssh=["", "sleep"])
  while not any("tpu_worker.sh train" in str(call) for call in google.calls):
    assert running.poll() is None
    time.sleep(0.05)
  running.send_signal(signal.SIGINT)
  out, err = running.communicate(timeout=30)
  assert running.returncode == 130, err
  assert "training on small continues; the same command reattaches to it, launch" in err
  assert "launch.clusters.tpu stop ends it" in err
  assert "Traceback" not in err


@pytest.mark.parametrize(
    "action, verb", [("status", "describe"), ("logs", "ssh"), ("stop", "ssh"), ("delete",) * 2]
)
def test_the_other_actions_call_gcloud_once(google, action, verb):
  finished = google(action, describe=["ACTIVE"])
  assert finished.code == 0 and google.verbs == [verb], finished
  if action == "status":
    assert finished.out == "small: ACTIVE\n"
