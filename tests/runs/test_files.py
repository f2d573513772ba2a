"""Small files are written whole or not at all."""

import os

import pytest

from dlx.runs import files


def test_a_folder_in_the_way_of_a_file_is_all_that_is_there(tmp_path):
  (tmp_path / "a.svg").mkdir()
  with pytest.raises(OSError):
    files.write(tmp_path / "a.svg", "<svg/>")
  assert [path.name for path in tmp_path.iterdir()] == ["a.svg"]


def test_a_full_disk_keeps_the_old_content(tmp_path, monkeypatch):
  def full(descriptor):
    raise OSError(28, "No space left on device")

  (tmp_path / "a").write_text("old")
  monkeypatch.setattr(os, "fsync", full)
  with pytest.raises(OSError, match="No space left"):
    files.write(tmp_path / "a", "new")
  assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]
