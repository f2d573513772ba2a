"""The folder of a run: who it belongs to, and what it was started with.

  config.json     the config, whose key `experiment` names the experiment's package
  run.json        each start: command, commit, versions, devices
  metrics.jsonl   what (config, seed, step) determine; timings.jsonl holds the rest
  checkpoints/    Orbax; checksums/ of their files
  tensorboard/    the metrics as events
  curves.png      drawn at the end
  profile/        a trace of some steps, if one was asked for
  lock            held by the process that trains here
"""

import datetime
import json
import pathlib
import subprocess
import sys

import ml_collections

from dlx import doctor
from dlx.errors import UserError
from dlx.distributed import processes
from dlx.runs import lock, object_storage

CONFIG, RUN = "config.json", "run.json"

# Keys that may differ when a run is resumed: they do not change what is trained.
RESUMABLE_KEYS = (
    "training.total_steps", "training.keep", "training.profile", "training.fsdp",
)  # fmt: skip


def flatten(config: dict, prefix: str = "") -> dict:
  """{"a": {"b": 1}} as {"a.b": 1}."""
  flat = {}
  for key, value in config.items():
    if isinstance(value, dict):
      flat.update(flatten(value, f"{prefix}{key}."))
    else:
      flat[prefix + key] = list(value) if isinstance(value, tuple) else value
  return flat


def check(
    workdir: pathlib.Path, config: ml_collections.ConfigDict, *, override: bool = False
) -> None:
  """Makes sure that a run with this config may start or resume in the folder.

  Raises:
    UserError: workdir is a file, holds something else, is being trained in, or belongs
      to a run with another config (not raised with `override`); the message names the keys.
  """
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"--workdir={workdir} is a file; name a folder")
  if not (workdir / CONFIG).exists():
    if workdir.is_dir() and any(
        path.suffix != ".new" and path.name != object_storage.ADDRESS for path in workdir.iterdir()
    ):
      raise UserError(f"--workdir={workdir} is neither empty nor a run; name another folder")
    return
  lock.check(workdir)
  old, new = flatten(read_config(workdir).to_dict()), flatten(config.to_dict())
  differing = [
      f"{key} ({old.get(key, 'absent')} -> {new.get(key, 'absent')})"
      for key in sorted(old.keys() | new.keys())
      if old.get(key) != new.get(key) and key not in RESUMABLE_KEYS
  ]
  if differing and not override:
    raise UserError(
        f"--workdir={workdir} is a run with another config: {', '.join(differing)}. Name "
        f"another folder, repeat the run's own command, or pass --override to go on anyway"
    )


def open_(workdir: pathlib.Path, config: ml_collections.ConfigDict) -> None:
  """Makes the folder when it is missing, and records the config and this start.

  Of several processes that train together the first one does it, and all make sure that
  they see what it wrote.

  Raises:
    UserError: the folder cannot be written, or is not the same one on all processes.
  """

  def write():
    try:
      workdir.mkdir(parents=True, exist_ok=True)
      starts = json.loads(path.read_text()) if (path := workdir / RUN).exists() else []
      _write_json(workdir / RUN, [*starts, _this_start()])
      _write_json(workdir / CONFIG, config.to_dict())
      object_storage.put(workdir)
    except OSError as e:
      raise UserError(f"--workdir={workdir} cannot be written: {e.strerror}") from None

  def look():
    object_storage.fetch(workdir)
    if not (workdir / CONFIG).exists():
      raise UserError(
          f"--workdir={workdir} of the first process is not there on another one; name a folder "
          f"on a disk that all processes see"
      )

  processes.on_first(write)
  processes.together(look)


def read_config(workdir: pathlib.Path) -> ml_collections.ConfigDict:
  """The config of a run.

  Raises:
    UserError: workdir is not a run.
  """
  try:
    content = json.loads((workdir / CONFIG).read_text())
  except (FileNotFoundError, NotADirectoryError):
    raise UserError(f"--workdir={workdir} is not a run: it has no {CONFIG}") from None
  except json.JSONDecodeError:
    raise UserError(f"{workdir / CONFIG} is damaged: it is not JSON") from None
  return ml_collections.ConfigDict(content)


def default(config: ml_collections.ConfigDict) -> pathlib.Path:
  """A new folder's name: runs/EXPERIMENT-PRESET-TIME."""
  now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S")
  return pathlib.Path("runs") / f"{config.experiment.split('.')[-1]}-{config.preset}-{now}"


def _write_json(path: pathlib.Path, content) -> None:
  new = path.with_name(path.name + ".new")
  new.write_text(json.dumps(content, indent=2) + "\n")
  new.replace(path)


def _this_start() -> dict:
  return {
      "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
      "commit": _commit(),
      **doctor.facts(),
  }


def _commit() -> str | None:
  """The commit of the code, with "+" when files differ from it; None outside git."""

  def git(*args):
    here = pathlib.Path(__file__).parent
    return subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=True)

  try:
    changed = git("status", "--porcelain", "--untracked-files=no").stdout.strip()
    return git("rev-parse", "--short=12", "HEAD").stdout.strip() + ("+" if changed else "")
  except (OSError, subprocess.CalledProcessError):
    return None
