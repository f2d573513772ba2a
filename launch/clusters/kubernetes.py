"""Writes a JobSet manifest that trains on a Kubernetes cluster with GPUs or TPUs.

  python -m launch.clusters.kubernetes --image=IMAGE --nodes=2 --gpus_per_node=8 [--gpu_type=nvidia-l4]
      [--name=NAME] [--spot] [--output=FILE]
      -- --config=FILE:PRESET --workdir=gs://BUCKET/FOLDER [--config.KEY=VALUE ...]
  python -m launch.clusters.kubernetes --image=IMAGE --nodes=4 --tpu_type=tpu-v5-lite-podslice
      --tpu_topology=4x4 --tpus_per_node=4 [--spot] -- ...

`kubectl apply -f FILE` starts it. The cluster needs the JobSet controller; the image has the
project in its working directory, installed. A pod that dies or is taken away is started
again with all others, and launch.train resumes in --workdir.
"""

import pathlib
import shlex

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("image", None, "The container, with the project installed.")
flags.DEFINE_integer("nodes", 1, "How many machines.", lower_bound=1)
flags.DEFINE_integer("gpus_per_node", 0, "GPUs of each.", lower_bound=0)
flags.DEFINE_string("gpu_type", None, "GKE's name of the GPU, such as nvidia-h100-80gb.")
flags.DEFINE_string("tpu_type", None, "GKE's name of the TPU, such as tpu-v5-lite-podslice.")
flags.DEFINE_string("tpu_topology", None, "Its shape, such as 4x4.")
flags.DEFINE_integer("tpus_per_node", 4, "TPU chips of each machine.", lower_bound=1)
flags.DEFINE_bool("spot", False, "On machines that may be taken away, for less money.")
flags.DEFINE_integer("restarts", 100, "How often to start again before giving up.")
flags.DEFINE_string("name", None, "Of the job; made of the workdir when not given.")
flags.DEFINE_string("output", None, "The file to write; NAME.yaml when not given.")

PORT = 8476  # Where the first process waits for the others.


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
    arguments: flags of launch.train.
    name: of the JobSet.
    image: of the container.
    nodes: pods.
    resources: what a pod needs of accelerators.
    selector: labels of the nodes that have them.
    spot: nodes that may be taken away will do.
    restarts: of all pods together.

  Source: the JobSet API, jobset.x-k8s.io/v1alpha2.
  """
  train = ["python", "-m", "launch.train", *arguments]
  if nodes > 1:
    # JobSet names its pods; each job's controller tells them their numbers.
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
      "terminationGracePeriodSeconds": 120,  # Between SIGTERM and the end: it saves.
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
      "backoffLimit": 0,  # The JobSet starts all pods again, not one alone.
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
  """(resources of a pod, labels of its node) by the flags.

  Raises:
    UserError: GPUs and TPUs at once, or a TPU without its shape.
  """
  from dlx.errors import UserError

  if FLAGS.tpu_type is None:
    if FLAGS.tpu_topology:
      raise UserError("--tpu_topology needs --tpu_type, such as tpu-v5-lite-podslice")
    kind = {"cloud.google.com/gke-accelerator": FLAGS.gpu_type} if FLAGS.gpu_type else {}
    return ({"nvidia.com/gpu": FLAGS.gpus_per_node} if FLAGS.gpus_per_node else {}), kind
  if FLAGS.gpus_per_node:
    raise UserError("both --tpu_type and --gpus_per_node are given; give one of them")
  if not FLAGS.tpu_topology:
    raise UserError("--tpu_type needs --tpu_topology, such as 4x4")
  try:
    chips = 1
    for side in FLAGS.tpu_topology.split("x"):
      chips *= int(side)
  except ValueError:
    raise UserError(f"--tpu_topology={FLAGS.tpu_topology} is not a shape such as 4x4") from None
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
  import yaml

  from dlx.errors import UserError
  from launch.clusters import jobs

  arguments = jobs.train_arguments(arguments)
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
  try:
    path.write_text(yaml.safe_dump(content, sort_keys=False))
  except OSError as e:
    raise UserError(f"--output={path} cannot be written: {e.strerror}") from None
  print(f"{path} is written; kubectl apply -f {shlex.quote(str(path))} starts it")


if __name__ == "__main__":
  program.run(main, positional=True)
