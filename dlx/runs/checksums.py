"""Checksums of a checkpoint's files, to detect corruption before it is read."""

import json
import pathlib
import zlib


def _files(folder: pathlib.Path) -> dict[str, list[int]]:
  """Size and CRC-32 of every file below a folder, by relative path."""
  found = {}
  for path in sorted(folder.rglob("*")):
    if path.is_file():
      content = path.read_bytes()
      found[str(path.relative_to(folder))] = [len(content), zlib.crc32(content)]
  return found


def write(folder: pathlib.Path, record: pathlib.Path) -> None:
  """Records the files of `folder` in the JSON file `record`, atomically."""
  record.parent.mkdir(exist_ok=True)
  new = record.with_suffix(".new")
  new.write_text(json.dumps(_files(folder)))
  new.replace(record)


def verify(folder: pathlib.Path, record: pathlib.Path) -> str | None:
  """The first difference between `folder` and its record; None when there is none.

  A checkpoint without a record is accepted: a process that is killed between a save and its
  record leaves one.
  """
  try:
    expected = json.loads(record.read_text())
  except (FileNotFoundError, ValueError):
    return None
  actual = _files(folder)
  for name, (size, crc) in expected.items():
    if name not in actual:
      return f"{name} is missing"
    if actual[name][0] != size:
      return f"{name} has {actual[name][0]} of {size} bytes"
    if actual[name][1] != crc:
      return f"{name} has a wrong checksum"
  return None
