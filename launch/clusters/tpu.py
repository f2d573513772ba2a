"""Trains on a Cloud TPU slice: creates it, installs the project, trains, survives preemptions.

  python -m launch.clusters.tpu run --name=NAME --zone=ZONE --accelerator_type=v5litepod-16 [--spot]
      [--delete] -- --config=FILE:PRESET --workdir=gs://BUCKET/FOLDER [--config.KEY=VALUE ...]
  python -m launch.clusters.tpu create|status|logs|stop|delete --name=NAME --zone=ZONE ...

`run` creates the slice if it does not exist, waits for it, installs the working tree on every
worker, runs launch.train on all of them and shows the output of worker 0. A slice that is
preempted meanwhile is recreated, and training resumes in --workdir. Training continues when this
program or its connection ends; the same command reattaches to it, and then handles preemptions
and --delete again. `stop` saves a checkpoint and ends the training. Billed actions ask for
confirmation; --yes confirms them. --dry_run prints every command instead.
"""

import itertools
import pathlib
import shlex
import subprocess
import sys
import tempfile

from absl import flags

from dlx.errors import UserError
from launch.cli import configs, program
from launch.clusters import gcloud, jobs

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_string("name", None, "Required: the name of the queued resource and its slice.")
  flags.DEFINE_string("zone", None, "Required: the zone, such as us-central1-a.")
  flags.DEFINE_string("project", None, "Google Cloud project; by default gcloud's.")
  flags.DEFINE_string("accelerator_type", "v5litepod-16", "Type and size of the slice.")
  flags.DEFINE_string("runtime_version", "v2-alpha-tpuv5-lite", "Software version of the workers.")
  flags.DEFINE_bool("spot", False, "Use preemptible (spot) capacity.")
  flags.DEFINE_bool("delete", False, "Delete the slice after successful training.")
  flags.DEFINE_bool("yes", False, "Do not ask for confirmation of billed actions.")
  flags.DEFINE_bool("dry_run", False, "Print the commands instead of running them.")
  flags.DEFINE_float("poll", 15.0, "Seconds between queries of the state of a new slice.")
  flags.DEFINE_integer("max_preemptions", 20, "Recreate the slice at most so often.", lower_bound=0)


LOG = "dlx/train.log"
WORKER = "bash dlx/launch/clusters/tpu_worker.sh"
ACTIONS = ("run", "create", "status", "logs", "stop", "delete")


def main(*arguments: str) -> None:
  """Performs the action that the first argument names."""
  action, *rest = arguments or ("",)
  if action not in ACTIONS:
    raise UserError(f"first argument: expected {'|'.join(ACTIONS)}, got {action!r}")
  if rest and action != "run":
    raise UserError(f"{action}: unexpected argument {rest[0]!r}; only run takes arguments")
  for flag in ("name", "zone", "project", "accelerator_type", "runtime_version"):
    jobs.check_word(flag, FLAGS[flag].value)
  if not FLAGS.dry_run:
    gcloud.check()
  tpu = gcloud.Slice(
      program.required("name"), program.required("zone"), FLAGS.project, FLAGS.dry_run, FLAGS.poll
  )
  try:
    if action == "run":
      _run(tpu, rest)
    elif action == "create":
      _create(tpu)
    elif action == "status":
      print(f"{tpu.name}: {tpu.state()}")
    elif action == "logs":
      tpu.ssh(f"tail -n +1 -F {LOG}", worker="0")
    elif action == "stop":
      tpu.ssh(f"{WORKER} stop")
    else:
      tpu.delete()
  except gcloud.Failed as e:
    raise UserError(f"gcloud: {e}") from None


def _confirm(question: str) -> None:
  if FLAGS.yes or FLAGS.dry_run:
    return
  if not sys.stdin.isatty() or input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
    raise UserError("no slice was created; confirm with --yes")


def _create(tpu: gcloud.Slice) -> None:
  """Creates the slice unless it exists, and waits for it."""
  state = gcloud.GONE if FLAGS.dry_run else tpu.state()
  if state in gcloud.LOST:
    tpu.delete()
    state = gcloud.GONE
  if state == gcloud.GONE:
    kind = "a spot" if FLAGS.spot else "a"
    description = f"{kind} {FLAGS.accelerator_type} slice {tpu.name} in {tpu.zone}"
    _confirm(f"Create {description}? It is billed.")
    tpu.create(FLAGS.accelerator_type, FLAGS.runtime_version, spot=FLAGS.spot)
  tpu.wait(lambda line: print(line, flush=True))


def _run(tpu: gcloud.Slice, arguments: list[str]) -> None:
  """Trains to the end, recreating the slice after preemptions."""
  arguments = jobs.train_arguments(arguments)
  workdir = next(a for a in arguments if a.startswith("--workdir=")).partition("=")[2]
  if not workdir.startswith("gs://"):
    raise UserError(
        f"--workdir={workdir} would be lost with the slice; use object storage: "
        f"gs://BUCKET/FOLDER"
    )
  for preemptions in itertools.count(1):
    _create(tpu)
    try:
      _install(tpu)
      tpu.ssh(f"{WORKER} train {shlex.join(arguments)}")
      break
    except KeyboardInterrupt:
      print(
          f"\ntraining on {tpu.name} continues; the same command reattaches to it, "
          f"launch.clusters.tpu stop ends it, launch.clusters.tpu delete deletes the slice",
          file=sys.stderr,
      )
      raise
    except gcloud.Failed as e:
      if _is_ready(tpu):
        raise UserError(
            f"training on {tpu.name} failed: {e}; launch.clusters.tpu logs shows its log. If only "
            f"the connection was lost, the same command reattaches to the training"
        ) from None
      if preemptions > FLAGS.max_preemptions:
        raise UserError(
            f"{tpu.name} was preempted {preemptions} times; the same command resumes"
        ) from None
      print(f"{tpu.name} was preempted ({preemptions}); recreating it", flush=True)
  if FLAGS.delete:
    tpu.delete()


def _is_ready(tpu: gcloud.Slice) -> bool:
  """Whether the slice still exists, as far as can be determined from here."""
  try:
    return tpu.state() == gcloud.READY
  except gcloud.Failed:  # gcloud cannot connect, so the connection is lost and not the slice.
    return True


def _install(tpu: gcloud.Slice) -> None:
  """Copies the working tree without git-ignored files, and installs it unless training runs."""
  with tempfile.TemporaryDirectory() as folder:
    archive = str(pathlib.Path(folder) / "dlx.tar.gz")
    listed = ["git", "-C", str(configs.ROOT), "ls-files", "-co", "--exclude-standard"]
    if FLAGS.dry_run:
      print(f"{shlex.join(listed)} | tar -czf {archive} -C {configs.ROOT} -T -")
    else:
      files = subprocess.run(listed, capture_output=True, check=True).stdout
      subprocess.run(
          ["tar", "-czf", archive, "-C", str(configs.ROOT), "-T", "-"], input=files, check=True
      )
    tpu.copy(archive)
  tpu.ssh(
      f"if {WORKER} busy 2> /dev/null; then "
      "echo 'training is already running here: reattaching, nothing is installed'; exit; fi; "
      "mkdir -p dlx && tar -xzf dlx.tar.gz -C dlx && cd dlx && python3 -m venv .venv && "
      '.venv/bin/pip install --quiet -e ".[tpu,gcs]"'
  )


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
