"""Writes a JobSet manifest that trains on a Kubernetes cluster with GPUs or TPUs.

  python -m launch.clusters.kubernetes --image=IMAGE --nodes=2 --gpus_per_node=8
      [--gpu_type=nvidia-l4] [--name=NAME] [--spot] [--output=FILE]
      -- --config=FILE:PRESET --workdir=gs://BUCKET/FOLDER [--config.KEY=VALUE ...]
  python -m launch.clusters.kubernetes --image=IMAGE --nodes=4 --tpu_type=tpu-v5-lite-podslice
      --tpu_topology=4x4 --tpus_per_node=4 [--spot] -- ...

`kubectl apply -f FILE` starts it. The cluster needs the JobSet controller, and the image needs
the project in its working directory, installed. When a pod fails or is preempted, all pods are
restarted, and launch.train resumes in --workdir.
"""

import math
import pathlib
import re
import shlex

from absl import flags
import yaml

from dlx.errors import UserError
from launch.cli import paths, program
from launch.clusters import jobs

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_string("image", None, "Required: the container image with the project installed.")
  flags.DEFINE_integer("nodes", 1, "Number of machines.", lower_bound=1)
  flags.DEFINE_integer("gpus_per_node", 0, "GPUs per machine.", lower_bound=0)
  flags.DEFINE_string("gpu_type", None, "GPU type as GKE names it, such as nvidia-h100-80gb.")
  flags.DEFINE_string("tpu_type", None, "TPU type as GKE names it, such as tpu-v5-lite-podslice.")
  flags.DEFINE_string("tpu_topology", None, "TPU topology, such as 4x4.")
  flags.DEFINE_integer("tpus_per_node", 4, "TPU chips per machine.", lower_bound=1)
  flags.DEFINE_bool("spot", False, "Use preemptible (spot) capacity.")
  flags.DEFINE_integer("restarts", 100, "Maximum number of restarts.", lower_bound=0)
  flags.DEFINE_string("name", None, "Job name; by default made from the workdir.")
  paths.define("output", None, "Manifest to write; by default NAME.yaml.")


PORT = 8476  # Process 0 listens on it as the coordinator.


def manifest(
    arguments: list[str],
    *,
    name: str,
    image: str,
    nodes: int,
    resources: dict[str, int],
    selector: dict[str, str],
    spot: bool,
    restarts: int,
) -> dict:
  """The JobSet as nested dicts: one indexed job with a pod on each node.

  Args:
    arguments: arguments for launch.train.
    name: name of the JobSet.
    image: container image.
    nodes: number of pods.
    resources: accelerators of each pod, as resource limits.
    selector: labels of the nodes that have them.
    spot: run on preemptible nodes.
    restarts: maximum number of restarts of all pods.

  Source: the JobSet API, jobset.x-k8s.io/v1alpha2.
  """
  # The kubelet replaces $(NAME) in a command, and $$ by $.
  train = ["python", "-m", "launch.train", *(a.replace("$", "$$") for a in arguments)]
  if nodes > 1:
    # The JobSet gives pods their host names, its Job controller their indices.
    train += [
        "--distributed",
        f"--coordinator={name}-workers-0-0.{name}:{PORT}",
        f"--num_processes={nodes}",
        "--process_id=$(JOB_COMPLETION_INDEX)",
    ]
  container = {
      "name": "train",
      "image": image,
      "command": train,
      "ports": [{"containerPort": PORT}],
      "resources": {"limits": resources},
  }
  pod = {
      "restartPolicy": "Never",
      "terminationGracePeriodSeconds": 120,  # Time to save a checkpoint after SIGTERM.
      "nodeSelector": {**selector, **({"cloud.google.com/gke-spot": "true"} if spot else {})},
      "containers": [container],
  }
  if spot:
    pod["tolerations"] = [{
        "key": "cloud.google.com/gke-spot", "operator": "Equal", "value": "true",
        "effect": "NoSchedule",
    }]  # fmt: skip
  job = {
      "parallelism": nodes,
      "completions": nodes,
      "completionMode": "Indexed",
      "backoffLimit": 0,  # The JobSet restarts all pods, never a single one.
      "template": {"spec": pod},
  }
  return {
      "apiVersion": "jobset.x-k8s.io/v1alpha2",
      "kind": "JobSet",
      "metadata": {"name": name},
      "spec": {
          "failurePolicy": {"maxRestarts": restarts},
          "network": {"enableDNSHostnames": True},
          "replicatedJobs": [{"name": "workers", "replicas": 1, "template": {"spec": job}}],
      },
  }


def accelerators() -> tuple[dict[str, int], dict[str, str]]:
  """(resources of a pod, labels of its node) according to the flags.

  Raises:
    UserError: both GPUs and TPUs are requested, or a TPU without a valid topology.
  """
  if FLAGS.tpu_type is None:
    if FLAGS.tpu_topology:
      raise UserError("--tpu_topology needs --tpu_type, such as tpu-v5-lite-podslice")
    kind = {"cloud.google.com/gke-accelerator": FLAGS.gpu_type} if FLAGS.gpu_type else {}
    return ({"nvidia.com/gpu": FLAGS.gpus_per_node} if FLAGS.gpus_per_node else {}), kind
  if FLAGS.gpus_per_node:
    raise UserError("--tpu_type and --gpus_per_node are mutually exclusive; give one of them")
  if not FLAGS.tpu_topology:
    raise UserError("--tpu_type needs --tpu_topology, such as 4x4")
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)+", FLAGS.tpu_topology):
    raise UserError(
        f"--tpu_topology={FLAGS.tpu_topology} is not a valid topology; use for example 4x4"
    )
  chips = math.prod(map(int, FLAGS.tpu_topology.split("x")))
  if chips != FLAGS.nodes * FLAGS.tpus_per_node:
    raise UserError(
        f"--tpu_topology={FLAGS.tpu_topology} has {chips} chips, but --nodes={FLAGS.nodes} with "
        f"--tpus_per_node={FLAGS.tpus_per_node} have {FLAGS.nodes * FLAGS.tpus_per_node}"
    )
  labels = {
      "cloud.google.com/gke-tpu-accelerator": FLAGS.tpu_type,
      "cloud.google.com/gke-tpu-topology": FLAGS.tpu_topology,
  }
  return {"google.com/tpu": FLAGS.tpus_per_node}, labels


def main(*arguments: str) -> None:
  """Writes the manifest."""
  arguments = jobs.train_arguments(arguments)
  for argument in arguments:
    if any(0xD800 <= ord(letter) <= 0xDFFF for letter in argument):
      raise UserError(f"{argument.partition('=')[0]} is not UTF-8, which a manifest has to be")
  for flag in ("image", "gpu_type", "tpu_type"):
    jobs.check_word(flag, FLAGS[flag].value)
  resources, selector = accelerators()
  content = manifest(
      arguments,
      name=jobs.job_name(FLAGS.name, arguments),
      image=program.required("image"),
      nodes=FLAGS.nodes,
      resources=resources,
      selector=selector,
      spot=FLAGS.spot,
      restarts=FLAGS.restarts,
  )
  path = pathlib.Path(FLAGS.output or f"{content['metadata']['name']}.yaml")
  jobs.write(path, yaml.safe_dump(content, sort_keys=False))
  print(f"wrote {path}; start it with: kubectl apply -f {shlex.quote(str(path))}")


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
