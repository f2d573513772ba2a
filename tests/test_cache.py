"""The cache folder where there is no home, or where it cannot be written."""

import os
import pathlib

import pytest

from dlx import cache


@pytest.fixture(autouse=True)
def environment(monkeypatch):
  """Variables as in a fresh shell; those that keep_compiled sets are removed afterwards."""
  for name in ("JAX_COMPILATION_CACHE_DIR", "JAX_ENABLE_COMPILATION_CACHE", "XDG_CACHE_HOME"):
    monkeypatch.setenv(name, "")
    monkeypatch.delenv(name)


def test_the_folder_follows_xdg_and_the_home(monkeypatch, tmp_path):
  monkeypatch.setenv("HOME", str(tmp_path))
  assert cache.folder() == tmp_path / ".cache" / "dlx"
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
  assert cache.folder() == tmp_path / "other" / "dlx"


def test_without_a_home_the_folder_is_temporary_and_private(monkeypatch, capsys):
  def no_home(self):
    raise RuntimeError("Could not determine home directory.")

  monkeypatch.setattr(pathlib.Path, "expanduser", no_home)
  assert cache.folder() == cache.folder()
  assert cache.folder().parent.stat().st_mode & 0o77 == 0
  cache.keep_compiled()
  assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
  line = "there is no home folder: compiled programs are not kept\n"
  assert capsys.readouterr().err == line


def test_a_folder_that_cannot_be_written_gives_one_line(monkeypatch, tmp_path, capsys):
  (tmp_path / "file").write_text("")
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
  cache.keep_compiled()
  assert os.environ["JAX_ENABLE_COMPILATION_CACHE"] == "false"
  line = capsys.readouterr().err
  assert line.count("\n") == 1 and "cannot be written" in line
