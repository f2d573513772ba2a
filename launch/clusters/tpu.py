"""Trains on a Cloud TPU slice: makes it, copies the project, runs, and goes on after a loss.

  python -m launch.clusters.tpu run --name=NAME --zone=ZONE --accelerator_type=v5litepod-16 [--spot]
      [--delete] -- --config=FILE:PRESET --workdir=gs://BUCKET/FOLDER [--config.KEY=VALUE ...]
  python -m launch.clusters.tpu create|status|logs|stop|delete --name=NAME --zone=ZONE ...

`run` makes the slice if there is none, waits for it, installs the working tree on every
worker, runs launch.train on all of them and shows worker 0's output. A slice that is taken
away meanwhile is made again, and the training resumes in --workdir. The training goes on when
this program or its connection ends; the same command follows it again, and then sees to lost
slices and --delete. `stop` lets it save and end. What costs money is asked first; --yes
answers. --dry_run prints every command instead.
"""

import pathlib
import shlex
import subprocess
import sys
import tempfile

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("name", None, "Of the queued resource and its slice.")
flags.DEFINE_string("zone", None, "Such as us-central1-a.")
flags.DEFINE_string("project", None, "Google Cloud project; gcloud's own when not given.")
flags.DEFINE_string("accelerator_type", "v5litepod-16", "Kind and size of the slice.")
flags.DEFINE_string("runtime_version", "v2-alpha-tpuv5-lite", "Software of the workers.")
flags.DEFINE_bool("spot", False, "A slice that may be taken away, for less money.")
flags.DEFINE_bool("delete", False, "After a training that ended well, give the slice back.")
flags.DEFINE_bool("yes", False, "Do not ask before what costs money.")
flags.DEFINE_bool("dry_run", False, "Print the commands, and run none.")
flags.DEFINE_float("poll", 15.0, "Seconds between two looks at a slice that is being made.")
flags.DEFINE_integer("losses", 20, "How often a lost slice is made again.", lower_bound=0)

LOG = "dlx/train.log"
WORKER = "bash dlx/launch/clusters/tpu_worker.sh"
ACTIONS = ("run", "create", "status", "logs", "stop", "delete")


def main(*arguments: str) -> None:
  """Does what the first argument says."""
  from dlx.errors import UserError
  from launch.clusters import gcloud

  action, *rest = arguments or ("",)
  if action not in ACTIONS:
    raise UserError(f"say what to do first: launch.clusters.tpu {'|'.join(ACTIONS)}, not {action!r}")
  if rest and action != "run":
    raise UserError(f"launch.clusters.tpu {action} takes flags only, not {rest[0]!r}")
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


def _ask(question: str) -> None:
  from dlx.errors import UserError

  if FLAGS.yes or FLAGS.dry_run:
    return
  if not sys.stdin.isatty() or input(f"{question} [y/N] ").strip().lower() not in ("y", "yes"):
    raise UserError("nothing was made; --yes answers the question")


def _create(tpu) -> None:
  """Makes the slice unless it is there, and waits for it."""
  from launch.clusters import gcloud

  state = gcloud.GONE if FLAGS.dry_run else tpu.state()
  if state in gcloud.LOST:
    tpu.delete()
    state = gcloud.GONE
  if state == gcloud.GONE:
    kind = "a spot" if FLAGS.spot else "a"
    _ask(f"Make {kind} {FLAGS.accelerator_type} slice {tpu.name} in {tpu.zone}? It costs money")
    tpu.create(FLAGS.accelerator_type, FLAGS.runtime_version, spot=FLAGS.spot)
  tpu.wait(lambda line: print(line, flush=True))


def _run(tpu, arguments: list[str]) -> None:
  """Trains until it ends, on one slice after the other if need be."""
  from dlx.errors import UserError
  from launch.clusters import gcloud, jobs

  arguments = jobs.train_arguments(arguments)
  workdir = next(a for a in arguments if a.startswith("--workdir=")).partition("=")[2]
  if not workdir.startswith("gs://"):
    raise UserError(
        f"--workdir={workdir} would be lost with the slice; use a folder in a bucket, "
        f"gs://BUCKET/FOLDER"
    )
  for loss in range(FLAGS.losses + 1):
    _create(tpu)
    try:
      _install(tpu)
      tpu.ssh(f"{WORKER} train {shlex.join(arguments)}")
      break
    except KeyboardInterrupt:
      print(
          f"\nwhat was begun on {tpu.name} goes on; the same command follows it, launch.clusters.tpu stop "
          f"ends it, launch.clusters.tpu delete gives the slice back",
          file=sys.stderr,
      )
      raise
    except gcloud.Failed as e:
      if _is_there(tpu):
        raise UserError(
            f"training on {tpu.name} failed: {e}; launch.clusters.tpu logs shows its log. If only the "
            f"connection was lost, the same command follows the training again"
        ) from None
      print(f"{tpu.name} was taken away (loss {loss + 1}); making it again", flush=True)
  else:
    raise UserError(f"{tpu.name} was taken away {FLAGS.losses + 1} times; the same command resumes")
  if FLAGS.delete:
    tpu.delete()


def _is_there(tpu) -> bool:
  """Whether the slice has not been taken away, as far as one can see from here."""
  from launch.clusters import gcloud

  try:
    return tpu.state() == gcloud.READY
  except gcloud.Failed:  # Nothing can be reached: the connection is lost, not the slice.
    return True


def _install(tpu) -> None:
  """Copies the files that git knows, with their changes, and installs them.

  Not below a training that goes on.
  """
  from launch.cli import configs

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
      "echo 'a training goes on here: it is followed, and nothing is installed'; exit; fi; "
      "mkdir -p dlx && tar -xzf dlx.tar.gz -C dlx && cd dlx && python3 -m venv .venv && "
      '.venv/bin/pip install --quiet -e ".[tpu,gcs]"'
  )


if __name__ == "__main__":
  program.run(main, positional=True)
