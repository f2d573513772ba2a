"""Paths as users write them: ~, and names that no file system takes."""

import pathlib

import numpy as np
from PIL import Image
import pytest

import dlx
from dlx import paths
from dlx.data import corpus, documents, images
from dlx.errors import UserError
from dlx.models import bert


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  monkeypatch.setenv("USERPROFILE", str(tmp_path))
  return tmp_path


@pytest.mark.parametrize("path, expanded", [
    ("~", "HOME"), ("~/a", "HOME/a"), (pathlib.Path("~/a"), "HOME/a"), ("a~/~", "a~/~"),
    ("~nobody-of-this-name/a", "~nobody-of-this-name/a"), ("gs://bucket/~", "gs://bucket/~"),
    ("a[1]*?:\n", "a[1]*?:\n"),
])  # fmt: skip
def test_a_tilde_is_the_home_folder_where_a_shell_expands_it(home, path, expanded):
  assert paths.expand(path) == expanded.replace("HOME", str(home))


@pytest.mark.parametrize("path", ["a" * 256, "é" * 128, "/tmp/" + "a/" * 3000, "a\0b"])
def test_a_name_that_no_file_can_have_gives_one_line(path):
  with pytest.raises(UserError, match="too long|null (byte|character)"):
    paths.expand(path)


def test_data_are_read_from_the_home_folder(home):
  (home / "b.txt").write_text("a small text\n" * 100)
  (home / "t.csv").write_text("text,label\n" + "good,1\nbad,0\n" * 20)
  for name in ("cat", "dog"):
    (home / "images" / name).mkdir(parents=True)
    for i in range(10):
      pixels = np.full((8, 8, 3), i, np.uint8)
      Image.fromarray(pixels).save(home / "images" / name / f"{i}.png")
  (home / "bert").mkdir()
  (home / "bert" / "config.json").write_text('{"model_type": "bert"}')
  assert corpus.load("python_source", path="~/b.txt").train.startswith("a small text")
  assert len(documents.load("sentences", file="~/t.csv", num_validation=4).train) == 32
  assert images.load("shapes", folder="~/images", num_validation=2).train.classes == ("cat", "dog")
  assert images.read("~/images/cat/3.png", 8)[0, 0, 0] == 3
  assert bert.is_folder("~/bert")


def test_a_run_is_opened_from_the_home_folder(home, trained):
  run = trained("experiments.gru_lm:debug")
  (home / "run").symlink_to(run)
  assert dlx.load_run("~/run").step == dlx.load_run(run).step
