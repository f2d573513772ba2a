"""The record of a run's files, record.json: what every reader checks before it reads.

  files         of every small file, its contents' [size, CRC-32]: the last two, because the
                record is written before the file, and a process may be killed between the two
  checkpoints   of every checkpoint: [size, CRC-32] of its files, its validation metrics, and
                `grown`, the first bytes of metrics.jsonl that belong to it
  crc32         of the rest of the record

A checkpoint counts once it is recorded, and is removed from the record before its files are
deleted: whatever moment a process is killed at, recorded files exist and are whole.
"""

import contextlib
import json
import math
import pathlib
import threading
from typing import Any
import zlib

from dlx.errors import UserError
from dlx.runs import files

RECORD = "record.json"
_EMPTY = {"files": {}, "checkpoints": {}}
_changing = threading.RLock()  # Checkpoints are recorded by the thread that saves them.


def checksum(content: bytes) -> list[int]:
  """[size, CRC-32]."""
  return [len(content), zlib.crc32(content)]


def folder_checksums(folder: pathlib.Path) -> dict[str, list[int]]:
  """The checksum of every file below a folder, by relative path."""
  paths = sorted(path for path in folder.rglob("*") if not path.is_dir())
  return {path.relative_to(folder).as_posix(): checksum(files.read(path)) for path in paths}


def exists(workdir: pathlib.Path) -> bool:
  """Whether the folder has a record."""
  return (workdir / RECORD).exists()


def load(workdir: pathlib.Path) -> dict[str, Any]:
  """The record.

  Raises:
    UserError: it is missing or corrupted.
  """
  path = workdir / RECORD
  if not path.exists() and not path.is_symlink():
    raise UserError(
        f"{path} is missing, so the files of this run cannot be checked; restore it from a copy, "
        f"or accept the files as they are with launch.train --override"
    )
  try:
    record = files.parse_json(path, files.read(path), dict)
    expected = record.pop("crc32", None)
  except UserError:
    record, expected = {}, None
  if record.keys() != _EMPTY.keys() or expected != _crc(record):
    raise UserError(
        f"{path} is corrupted; restore it from a copy, or accept the files as they are with "
        f"launch.train --override"
    )
  return record


def start(workdir: pathlib.Path) -> None:
  """Begins an empty record."""
  _save(workdir, {key: {} for key in _EMPTY})


def rebuild(workdir: pathlib.Path, names: list[str]) -> None:
  """Records these files and all checkpoints as they are.

  Args:
    workdir: of a run whose record is missing or corrupted.
    names: of files; those that do not exist are left out.
  """
  found = [name for name in names if (workdir / name).is_file()]
  record = {"files": {name: [checksum(files.read(workdir / name))] for name in found}}
  checkpoints = {}
  for folder in (workdir / "checkpoints").glob("*"):
    if folder.name.isdecimal():
      checkpoints[folder.name] = describe(folder, _metrics(folder), None)
  _save(workdir, {**record, "checkpoints": checkpoints})


def _metrics(checkpoint: pathlib.Path) -> dict | None:
  """The validation metrics that Orbax saved."""
  path = checkpoint / "metrics" / "metrics"
  try:
    return files.parse_json(path, files.read(path), dict)
  except UserError:
    return None


def write(workdir: pathlib.Path, name: str, content: bytes) -> None:
  """Writes a file and its entry, whole or not at all."""
  with changed(workdir) as record:
    old = record["files"].get(name, [])
    if checksum(content) not in old:
      record["files"][name] = [*old[-1:], checksum(content)]
  files.write(workdir / name, content)


def has(workdir: pathlib.Path, name: str) -> bool:
  """Whether the run wrote a file of this name."""
  return name in load(workdir)["files"]


def read(workdir: pathlib.Path, name: str) -> bytes:
  """The checked content of a file.

  Raises:
    UserError: the file is not the one that the run wrote.
  """
  known = load(workdir)["files"]
  path = workdir / name
  content = files.read(path)
  if name not in known:
    raise UserError(f"{path} is not in {RECORD}: the run did not write it; remove it")
  if checksum(content) not in known[name]:
    sizes = {size for size, _ in known[name]}
    wrong = "a wrong checksum" if len(content) in sizes else f"{len(content)} of {max(sizes)} bytes"
    raise UserError(f"{path} is corrupted: it has {wrong}; restore it from a copy")
  return content


def describe(folder: pathlib.Path, metrics: dict | None, grown: list[int] | None) -> dict:
  """The entry of a complete checkpoint; None in place of a metric that is not finite."""
  if metrics is not None:
    metrics = {k: v if math.isfinite(v) else None for k, v in metrics.items()}
  return {"files": folder_checksums(folder), "metrics": metrics, "grown": grown}


def difference(folder: pathlib.Path, entry: dict[str, Any]) -> str | None:
  """The first difference between a checkpoint and its entry; None when there is none."""
  try:
    actual = folder_checksums(folder)
  except UserError as e:
    return str(e)
  for name, (size, crc) in entry["files"].items():
    if name not in actual:
      return f"{name} is missing"
    if actual[name][0] != size:
      return f"{name} has {actual[name][0]} of {size} bytes"
    if actual[name][1] != crc:
      return f"{name} has a wrong checksum"
  return None


@contextlib.contextmanager
def changed(workdir: pathlib.Path):
  """The record, saved after the caller has changed it; begun where there is none."""
  with _changing:
    record = load(workdir) if exists(workdir) else {key: {} for key in _EMPTY}
    yield record
    _save(workdir, record)


def _save(workdir: pathlib.Path, record: dict[str, Any]) -> None:
  files.write_json(workdir / RECORD, {**record, "crc32": _crc(record)})


def _crc(record: dict[str, Any]) -> int:
  return zlib.crc32(json.dumps(record, sort_keys=True).encode())
