"""The files of a run directory.

  record.json         sizes and checksums of the files below that do not grow (dlx.runs.record)
  config.json         the config; its key `experiment` names the experiment's package. It is
                      written last: a folder without it has only the beginning of a run
  run.json            each start: command, commit, versions, devices
  data.json           fingerprints of the data, and steps_per_epoch
  assets.json         what the model needs besides its variables: class names, a vocabulary ...
  assets.safetensors  ... and its arrays
  metrics.jsonl       determined by (config, seed, step) alone; timings.jsonl holds the rest
  checkpoints/        Orbax
  tensorboard/        the metrics as events
  validation.json     all metrics of the validation split, of the best checkpoint
  *.png, samples.txt  figures and samples, made after training
  profile/            a trace of some steps, on request
  lock                held by the process that trains here
"""

from collections.abc import Iterator, Mapping, Sequence
import contextlib
import datetime
import hashlib
import pathlib
import subprocess
import sys
from typing import Any

import jax
import ml_collections
import numpy as np

from dlx import doctor, presets, settings
from dlx.distributed import processes
from dlx.errors import UserError
from dlx.experiment import SPLITS, Data
from dlx.runs import assets, files, lock, object_storage, record
from dlx.runs.assets import ARRAYS, ASSETS

CONFIG, RUN, DATA, VALIDATION = "config.json", "run.json", "data.json", "validation.json"
_FILES = (CONFIG, RUN, DATA, ASSETS, ARRAYS, VALIDATION)

# Keys that may differ when a run is resumed: they do not change the training.
RESUMABLE_KEYS = ("training.max_to_keep", "training.fsdp")
_TOTAL_STEPS = "training.total_steps"


def check(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    *,
    override: bool = False,
    locked: bool = False,
) -> None:
  """Checks that a run with this config may start or resume in the folder.

  Args:
    workdir: the folder.
    config: of the run.
    override: another config may continue the run.
    locked: the caller holds the folder's lock.

  Raises:
    UserError: workdir is a file, contains something else, is being trained in, or belongs to a
      run with another config (not raised with `override`); the message names the keys.
  """
  if workdir.exists() and not workdir.is_dir():
    raise UserError(f"workdir {workdir} is a file; name a folder")
  if not is_run(workdir):
    # A start that was killed leaves some of these.
    ours = (record.RECORD, lock.LOCK, DATA, ASSETS, ARRAYS, RUN)
    if workdir.is_dir() and any(
        path.suffix != files.TEMPORARY and path.name not in ours for path in workdir.iterdir()
    ):
      raise UserError(f"workdir {workdir} is neither empty nor a run; name another folder")
    return
  if not locked:
    lock.check(workdir)
  for name in ("checkpoints", "tensorboard", "profile"):
    if (workdir / name).is_symlink():
      raise UserError(f"{workdir / name} is a link, which is not followed; put a folder there")
  old = read_config(workdir)
  if old.get("experiment") == config.experiment:
    old = presets.completed(old)
  old, new = presets.flatten(old), presets.flatten(config)
  differing = [
      key
      for key in sorted(old.keys() | new.keys())
      if old.get(key) != new.get(key) and key not in RESUMABLE_KEYS
  ]
  reason = ""
  if _TOTAL_STEPS in differing:
    if not all(settings.steps(str(flat.get(_TOTAL_STEPS, 0)), 1) for flat in (old, new)):
      reason = f" (with {_TOTAL_STEPS}=0 there is no optimizer state to continue with)"
    elif new.get("optimizer.decay", "constant") == "constant":
      differing.remove(_TOTAL_STEPS)
    else:
      reason = f" ({_TOTAL_STEPS} changes the {new['optimizer.decay']} schedule of every step)"
  if "experiment" in differing and not override:
    raise UserError(f"workdir {workdir} is a run of {old.get('experiment')}; name another folder")
  if differing and not override:
    changes = ", ".join(
        f"{key} ({old.get(key, 'absent')} -> {new.get(key, 'absent')})" for key in differing
    )
    raise UserError(
        f"workdir {workdir} is a run with another config: {changes}{reason}. Name another folder, "
        f"repeat the run's own command, or override it with --override"
    )


def is_run(workdir: pathlib.Path) -> bool:
  """Whether a run has started in the folder."""
  return (workdir / CONFIG).exists() or (workdir / CONFIG).is_symlink()


def accept(workdir: pathlib.Path) -> None:
  """Records the files of a run as they are, if it has no record that can be read."""
  if not is_run(workdir):
    return
  with lock.held(workdir):
    try:
      record.load(workdir)
    except UserError:
      record.rebuild(workdir, _FILES)


@contextlib.contextmanager
def locked(workdir: pathlib.Path) -> Iterator[None]:
  """Creates the folder if it is missing, and holds its lock.

  Raises:
    UserError: the folder cannot be created, or another run holds the lock.
  """

  def make():
    try:
      workdir.mkdir(parents=True, exist_ok=True)
    except OSError as e:
      raise UserError(f"workdir {workdir} cannot be written: {e.strerror}") from None

  processes.on_primary(make)
  with contextlib.ExitStack() as stack:
    processes.on_primary(lambda: stack.enter_context(lock.held(workdir)))
    yield


def create(
    workdir: pathlib.Path,
    config: ml_collections.ConfigDict,
    data: Data,
    steps_per_epoch: int | None,
    start: Mapping[str, Any],
) -> None:
  """Records the config, the data and this start.

  The primary process writes, and all processes make sure that they see the files.

  Args:
    workdir: a folder whose lock is held.
    config: of the run.
    data: its assets are saved, its splits fingerprinted.
    steps_per_epoch: None when the data have no epochs.
    start: added to this start's entry in run.json.

  Raises:
    UserError: the folder cannot be written, is not the same one in all processes, or the run
      started with other data.
  """
  if is_run(workdir):
    check_data(workdir, data, SPLITS[:2])

  def write():
    try:
      files.remove_temporary(workdir)
      is_new = not is_run(workdir)
      if is_new:
        record.start(workdir)
        digests = {split: fingerprint(getattr(data, split)) for split in SPLITS}
        assets.save(workdir, data.assets)
        write_json(workdir, DATA, {**digests, "steps_per_epoch": steps_per_epoch})
      starts = [] if is_new else _read_json(workdir, RUN, list)
      write_json(workdir, RUN, [*starts, {**_this_start(), **start}])
      if is_new or read_config(workdir).to_dict() != config.to_dict():
        write_json(workdir, CONFIG, config.to_dict())
      object_storage.upload(workdir)
    except OSError as e:
      raise UserError(f"workdir {workdir} cannot be written: {e.strerror}") from None

  def look():
    object_storage.download(workdir)
    if not is_run(workdir):
      raise UserError(
          f"workdir {workdir} of process 0 does not exist on another process; name a folder on a "
          f"disk that all processes see"
      )

  processes.on_primary(write)
  processes.raise_together(look)


def fingerprint(arrays: Any) -> str:
  """A digest of a tree of arrays: their names, shapes, dtypes and bytes."""
  digest = hashlib.sha256()
  for path, leaf in jax.tree.leaves_with_path(arrays):
    leaf = np.ascontiguousarray(leaf)
    digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype} ".encode())
    if leaf.dtype == object:  # Strings.
      leaf = np.frombuffer("\0".join(map(str, leaf.flat)).encode(), np.uint8)
    digest.update(leaf.data)
  return digest.hexdigest()[:16]


def read_data(workdir: pathlib.Path) -> dict[str, Any]:
  """The record of a run's data: fingerprints of its splits, and steps_per_epoch."""
  return _read_json(workdir, DATA, dict)


def check_data(workdir: pathlib.Path, data: Data, splits: Sequence[str]) -> None:
  """Raises UserError unless splits have the examples that the run started with."""
  known = read_data(workdir)
  for split in splits:
    if known.get(split) != fingerprint(getattr(data, split)):
      raise UserError(
          f"the {split} data are not those that the run in {workdir} started with; restore them, "
          f"or train in another workdir"
      )


def read_config(workdir: pathlib.Path, *, checked: bool = True) -> ml_collections.ConfigDict:
  """The config of a run.

  Args:
    workdir: the folder.
    checked: compare the file with the record.

  Raises:
    UserError: workdir is not a run, or the file is corrupted.
  """
  path = workdir / CONFIG
  if not is_run(workdir):
    raise UserError(f"workdir {workdir} is not a run: it has no {CONFIG}")
  content = record.read(workdir, CONFIG) if checked else files.read(path)
  values = files.parse_json(path, content, dict)
  try:
    config = ml_collections.ConfigDict(values)
  except Exception as e:  # Keys that are no names.
    raise UserError(f"{path} is not a config: {e}") from None
  if checked and not isinstance(config.get("experiment"), str):
    raise UserError(f"{path} is not a config of dlx: it names no experiment")
  return config


def completed(workdir: pathlib.Path, config: ml_collections.ConfigDict):
  """`presets.completed`, checked; errors name the run's file."""
  try:
    config = presets.completed(config)
    presets.check(config)
  except UserError as e:
    raise UserError(f"{workdir / CONFIG}: {e}") from None
  return config


def default(config: ml_collections.ConfigDict) -> pathlib.Path:
  """A new folder's name, runs/EXPERIMENT-PRESET-TIME, which no other start has."""
  now = datetime.datetime.now().strftime("%Y%m%d-%H%M%S-%f")
  return pathlib.Path("runs") / f"{config.experiment.split('.')[-1]}-{config.preset}-{now}"


def write_json(workdir: pathlib.Path, name: str, content: Any) -> None:
  """Writes strict JSON to a file of the run, and records it."""
  record.write(workdir, name, files.to_json(content))


def _read_json(workdir: pathlib.Path, name: str, kind: type) -> Any:
  return files.parse_json(workdir / name, record.read(workdir, name), kind)


def _this_start() -> dict[str, Any]:
  return {
      "time": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
      "command": [pathlib.Path(sys.argv[0]).name, *sys.argv[1:]],
      "commit": _commit(),
      **doctor.environment(),
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
