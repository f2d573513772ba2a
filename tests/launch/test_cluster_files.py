"""launch.clusters.slurm and launch.clusters.kubernetes: their files, and input they refuse."""

import shlex
import stat
import subprocess
import sys

import programs as programs_lib
import pytest
import yaml

TRAIN = ("--config=experiments/gru_lm/config.py:debug", "--workdir=/shared/run 1")


@pytest.fixture
def write(programs, tmp_path):
  """`write(program, flags, *arguments)` -> (the finished program, the text of its file)."""

  def run(program, flags, *arguments, **environment):
    flags = [f"--{k}" if v is True else f"--{k}={v}" for k, v in flags.items()]
    finished = programs(
        f"launch.clusters.{program}", *flags, "--output=job", "--", *arguments,
        folder=tmp_path, **environment,
    )  # fmt: skip
    job = tmp_path / "job"
    return finished, job.read_text() if job.exists() else None

  return run


def test_an_sbatch_file_requests_the_given_resources(write):
  flags = {"nodes": 2, "gpus_per_node": 4, "partition": "gpu", "account": "me", "time": "30:00"}
  finished, text = write("slurm", flags, *TRAIN)
  directives = dict(
      line.removeprefix("#SBATCH --").partition("=")[::2]
      for line in text.splitlines()
      if line.startswith("#SBATCH")
  )
  assert directives == {
      "job-name": "dlx-run-1", "nodes": "2", "ntasks-per-node": "4", "gpus-per-node": "4",
      "cpus-per-task": "8", "time": "30:00", "partition": "gpu", "account": "me",
      "output": "dlx-run-1-%j.log", "open-mode": "append", "signal": "USR1@120", "requeue": "",
  }  # fmt: skip
  (srun,) = (line for line in text.splitlines() if line.startswith("srun "))
  assert shlex.split(srun)[-4:] == ["launch.train", *TRAIN, "--distributed"]
  assert "wrote job; submit it with: sbatch job" in finished.out
  assert subprocess.run(["bash", "-n"], input=text, text=True).returncode == 0


@pytest.mark.parametrize("code, requeued", [(138, True), (0, False), (2, False), (143, False)])
def test_a_job_is_requeued_only_after_it_saved_at_its_time_limit(write, tmp_path, code, requeued):
  _, text = write("slurm", {"gpus_per_node": 0, "setup": "true"}, *TRAIN)
  assert "gpus-per-node" not in text and "--distributed" not in text
  folder = tmp_path / "bin"
  folder.mkdir()
  for name, script in {"srun": f"exit {code}", "scontrol": f'echo "$@" > {tmp_path}/calls'}.items():
    (folder / name).write_text(f"#!/bin/bash\n{script}\n")
    (folder / name).chmod(stat.S_IRWXU)
  environment = {"PATH": f"{folder}:/usr/bin:/bin", "SLURM_JOB_ID": "77"}
  done = subprocess.run(["bash"], input=text, text=True, env=environment)
  assert done.returncode == code
  calls = tmp_path / "calls"
  assert calls.exists() == requeued and (not requeued or calls.read_text() == "requeue 77\n")


def test_submit_calls_sbatch_with_the_file(write, tmp_path):
  finished, _ = write("slurm", {"submit": True}, *TRAIN, PATH="/nowhere")
  assert finished.code == 2 and "sbatch is not installed here" in finished.err
  program = tmp_path / "sbatch"
  program.write_text(f"#!/bin/sh\necho \"$@\" > {tmp_path}/seen\necho '123;cluster'\n")
  program.chmod(stat.S_IRWXU)
  finished, _ = write("slurm", {"submit": True}, *TRAIN, PATH=str(tmp_path))
  assert (tmp_path / "seen").read_text() == "--parsable job\n"
  assert "submitted job 123; status: squeue --job=123" in finished.out
  program.write_text("#!/bin/sh\necho 'invalid partition' >&2\nexit 1\n")
  finished, _ = write("slurm", {"submit": True}, *TRAIN, PATH=str(tmp_path))
  assert finished.code == 2 and "sbatch rejected job: invalid partition" in finished.err


GPUS = {"image": "me/dlx", "nodes": 2, "gpus_per_node": 8, "gpu_type": "nvidia-l4"}
TPUS = {"image": "me/dlx", "nodes": 4, "tpu_type": "tpu-v5-lite-podslice", "tpu_topology": "4x4"}


@pytest.mark.parametrize("flags, resources, labels", [
    (GPUS, {"nvidia.com/gpu": 8}, {"cloud.google.com/gke-accelerator": "nvidia-l4"}),
    (TPUS, {"google.com/tpu": 4}, {
        "cloud.google.com/gke-tpu-accelerator": "tpu-v5-lite-podslice",
        "cloud.google.com/gke-tpu-topology": "4x4",
    }),
])  # fmt: skip
@pytest.mark.parametrize("spot", [False, True])
def test_a_manifest_is_a_job_set_with_one_pod_per_node(write, flags, resources, labels, spot):
  _, text = write("kubernetes", flags | ({"spot": True} if spot else {}), *TRAIN)
  content = yaml.safe_load(text)
  assert (content["apiVersion"], content["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
  assert content["metadata"] == {"name": "dlx-run-1"}
  (replicated,) = content["spec"]["replicatedJobs"]
  job = replicated["template"]["spec"]
  assert job["parallelism"] == job["completions"] == flags["nodes"]
  assert job["completionMode"] == "Indexed" and job["backoffLimit"] == 0
  pod = job["template"]["spec"]
  (container,) = pod["containers"]
  # The host name of a pod is JOBSET-WORKERS-0-INDEX.JOBSET; Kubernetes substitutes $(...).
  assert container["command"][2:] == [
      "launch.train", *TRAIN, "--distributed", "--coordinator=dlx-run-1-workers-0-0.dlx-run-1:8476",
      f"--num_processes={flags['nodes']}", "--process_id=$(JOB_COMPLETION_INDEX)",
  ]  # fmt: skip
  assert replicated["name"] == "workers" and content["spec"]["network"]["enableDNSHostnames"]
  assert container["ports"] == [{"containerPort": 8476}]
  assert container["resources"] == {"limits": resources}
  tolerated = [t["key"] for t in pod.get("tolerations", [])]
  assert tolerated == (["cloud.google.com/gke-spot"] if spot else [])
  assert pod["nodeSelector"] == labels | ({"cloud.google.com/gke-spot": "true"} if spot else {})


NO_TOPOLOGY = {key: value for key, value in TPUS.items() if key != "tpu_topology"}


@pytest.mark.parametrize("program, flags, message", [
    ("slurm", {"time": "soon"}, "--time=soon is not a valid SLURM time"),
    ("slurm", {"name": "Not_A_Name"}, "--name=Not_A_Name: use at most 50"),
    ("slurm", {"partition": "gpu\ntouch x"}, "--partition='gpu\\ntouch x': expected letters"),
    ("slurm", {"account": "me --wrap=x"}, "--account='me --wrap=x': expected letters"),
    ("slurm", {"time": "1:00\n"}, "is not a valid SLURM time"),
    ("slurm", {"setup": "module load cuda\r\n"}, "--setup has the control character '\\r'"),
    ("kubernetes", {}, "--image is missing"),
    ("kubernetes", {"image": ""}, "--image='': expected letters"),
    ("kubernetes", {"image": "me/dlx\n"}, "--image='me/dlx\\n': expected letters"),
    ("kubernetes", {"image": "x", "gpus_per_node": 1, "gpu_type": "a b"}, "--gpu_type='a b'"),
    ("kubernetes", {"image": "x", "restarts": -1}, "--restarts"),
    ("kubernetes", {**TPUS, "tpu_topology": "-4x-4"}, "-4x-4 is not a valid topology"),
    ("kubernetes", {**TPUS, "gpus_per_node": 1}, "--gpus_per_node are mutually exclusive"),
    ("kubernetes", NO_TOPOLOGY, "--tpu_type needs --tpu_topology"),
    ("kubernetes", {**TPUS, "tpu_topology": "4by4"}, "4by4 is not a valid topology"),
    ("kubernetes", {**TPUS, "nodes": 2}, "has 16 chips, but --nodes=2"),
    ("kubernetes", {"image": "x", "tpu_topology": "4x4"}, "--tpu_topology needs --tpu_type"),
])  # fmt: skip
def test_invalid_flags_are_refused_before_anything_is_written(write, program, flags, message):
  finished, text = write(program, flags, *TRAIN)
  assert finished.code == 2 and message in finished.err and text is None, finished


@pytest.mark.parametrize("program", ["slurm", "kubernetes"])
def test_the_training_command_is_validated_before_anything_is_written(write, program):
  flags = {"image": "x"} if program == "kubernetes" else {}
  for arguments, message in {
      (): "nothing to train",
      TRAIN[:1]: "--workdir is missing behind --",
      (*TRAIN, "--config.sed=1"): "did you mean seed",
      (TRAIN[0], "--workdir=a\nb"): "--workdir has the control character '\\n'",
      (*TRAIN, "--config.data.text=a\r\nb"): "--config.data.text has the control character '\\r'",
  }.items():
    finished, text = write(program, flags, *arguments)
    assert finished.code == 2 and message in finished.err and text is None, finished


def expanded(text: str, variables: dict[str, str]) -> str:
  """What the kubelet makes of a word of a command.

  Source: kubernetes, third_party/forked/golang/expansion/expand.go.
  """
  result, i = "", 0
  while i < len(text):
    if text[i] != "$" or i + 1 == len(text):
      result, i = result + text[i], i + 1
      continue
    after, end = text[i + 1], text.find(")", i)
    if after == "(" and end > 0:
      name = text[i + 2 : end]
      result, i = result + variables.get(name, f"$({name})"), end + 1
    else:
      result, i = result + ("$" if after == "$" else f"${after}"), i + 2
  return result


@pytest.mark.sampled(4)
@pytest.mark.parametrize("name", [
    "$(HOME)", "$$(HOME)", "$$$(HOME)", "a$", "a$$", "$a$$b", "$(", "a b'c\"d;e`f`", "ünï", "%s{}",
])  # fmt: skip
def test_words_reach_the_training_as_they_are_written(write, name):
  words = (TRAIN[0], f"--workdir=/shared/{name}")
  _, text = write("kubernetes", GPUS | {"name": "x"}, *words)
  pod = yaml.safe_load(text)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
  command = [
      expanded(word, {"HOME": "/root", "JOB_COMPLETION_INDEX": "1"})
      for word in pod["containers"][0]["command"]
  ]
  assert tuple(command[3:5]) == words and command[-1] == "--process_id=1"
  _, text = write("slurm", {"name": "x"}, *words)
  (srun,) = (line for line in text.splitlines() if line.startswith("srun "))
  shown = subprocess.run(
      ["bash", "-c", srun.replace("srun ", "printf '%s\\n' ", 1)], capture_output=True, text=True
  )
  assert tuple(shown.stdout.splitlines()[-2:]) == words


@pytest.mark.parametrize(
    "program", ["slurm", pytest.param("kubernetes", marks=pytest.mark.full)]
)
def test_files_are_utf8_whatever_the_locale(programs, tmp_path, program):
  command = [
      sys.executable, "-m", f"launch.clusters.{program}", "--name=x", "--output=job",
      *(["--image=i"] if program == "kubernetes" else []), "--",
      f"--config={programs_lib.ROOT}/experiments/gru_lm/config.py:debug",
  ]  # fmt: skip
  plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
  environment = {**programs_lib.ENVIRONMENT, **plain}

  def workdir(name: bytes):
    words = [*map(str.encode, command), b"--workdir=/" + name]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True)
    return done.returncode, done.stderr.decode()

  assert workdir("ünï".encode()) == (0, "")
  text = (tmp_path / "job").read_text(encoding="utf-8")
  assert "ünï" in (yaml.safe_dump(yaml.safe_load(text), allow_unicode=True)
                   if program == "kubernetes" else text)  # fmt: skip
  code, error = workdir(b"caf\xe9")
  if program == "slurm":
    assert code == 0 and b"caf\xe9" in (tmp_path / "job").read_bytes()
  else:
    assert (code, error) == (2, "--workdir is not UTF-8, which a manifest has to be\n")
