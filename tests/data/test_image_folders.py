"""Folders of images as people keep them: hidden and other files, splits, names in any letters."""

import os
import unicodedata

from PIL import Image
import pytest

from dlx.data import image_folders, images
from dlx.data.split import train_validation_split
from dlx.errors import UserError


@pytest.fixture
def make(tmp_path):
  """`make(*paths)`: a folder of images; the red of each is its position in the list."""

  def make_images(*paths):
    for i, name in enumerate(paths):
      path = tmp_path / "data" / name
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.new("RGB", (8, 8), (i, 0, 0)).save(path, format="PNG")
    return tmp_path / "data"

  return make_images


def reds(data):
  return data.images[:, 0, 0, 0].tolist()


def refusal(function, *args, **options):
  with pytest.raises(UserError) as error:
    function(*args, **options)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_hidden_files_are_no_data_and_what_is_not_read_is_said_once(make, capfd):
  folder = make(
      "cat/1.png", "cat/deep/2.PNG", "dog/3.jpg",
      "cat/.ipynb_checkpoints/1-checkpoint.png", "dog/._3.jpg", "dog/.thumbnails/3.png",
      "dog/__MACOSX/3.png", "__MACOSX/dog/3.png", ".git/x.png", "loose.png",
  )  # fmt: skip
  for name in ("cat/Thumbs.db", "dog/.DS_Store", "dog/desktop.ini", "notes.md", "cat/labels.TXT",
               "dog/a.heic", "dog/b.heic", "dog/README"):  # fmt: skip
    (folder / name).write_text("no image")
  data = images.from_folder(folder, 8)
  assert data.classes == ("cat", "dog") and data.labels.tolist() == [0, 0, 1]
  assert reds(data) == [0, 1, 2]
  assert capfd.readouterr().err == (
      f"{folder}: not read: .heic files (2), .txt files (1), files without a suffix (1), "
      f"hidden image files (4), image files outside the subfolders (1)\n"
  )


def test_nothing_is_said_about_a_folder_of_images_only(make, capfd):
  images.from_folder(make("cat/1.png", "dog/2.png"), 8)
  assert capfd.readouterr().err == ""


def test_a_hidden_folder_can_be_named(make):
  folder = make(".cache/cat/1.png", ".cache/dog/2.png") / ".cache"
  assert reds(images.from_folder(folder, 8)) == [0, 1]


def test_a_class_without_images_says_what_it_has(make):
  folder = make("cat/1.png", "dog/2.png")
  (folder / "owl").mkdir()
  assert "owl has no images" in refusal(images.from_folder, folder)
  (folder / "owl" / "1.tif").write_text("")
  assert "it has .tif files (1)" in refusal(images.from_folder, folder)


def test_pipes_and_broken_links_are_named(make):
  folder = make("cat/1.png", "dog/2.png")
  os.mkfifo(folder / "dog" / "pipe.png")
  assert f"{folder}/dog/pipe.png is a pipe or a device" in refusal(images.from_folder, folder)
  (folder / "dog" / "pipe.png").unlink()
  (folder / "dog" / "link.png").symlink_to(folder / "none.png")
  assert f"{folder}/dog/link.png does not exist" in refusal(images.from_folder, folder)


SPLITS = [
    *(f"{split}/{name}/{i}.png" for split in ("train", "test") for name in "ab" for i in range(10)),
]


def test_train_and_test_folders_are_the_splits(make, capfd):
  folder = make(*SPLITS)
  splits = images.load("", folder=folder, size=8, num_validation=5)
  assert sorted(reds(splits.train) + reds(splits.validation)) == list(range(20))
  assert reds(splits.test) == list(range(20, 40))
  assert splits.test.labels.tolist() == [0] * 10 + [1] * 10
  whole = images.from_folder(folder / "train", 8)
  assert reds(splits.validation) == reds(train_validation_split(whole, 5)[1])
  assert capfd.readouterr().err == f"{folder}: the subfolders test, train are read as splits\n"


@pytest.mark.parametrize("name", ["val", "valid", "validation", "dev", "Val"])
def test_a_validation_folder_is_the_validation_split(make, capfd, name):
  folder = make(*SPLITS, f"{name}/a/1.png", f"{name}/b/2.png", f"{name}/b/3.png")
  splits = images.load("", folder=folder, size=8, num_validation=5)
  assert [reds(data) for data in splits] == [list(range(20)), [40, 41, 42], list(range(20, 40))]
  assert splits.validation.labels.tolist() == [0, 1, 1]
  assert "num_validation is not used" in capfd.readouterr().err


def test_without_a_test_folder_a_tenth_of_the_training_images_is_the_test_split(make):
  folder = make(*SPLITS[:20], "val/a/1.png")
  splits = images.load("", folder=folder, size=8, num_validation=5)
  assert reds(splits.validation) == [20] and len(splits.test) == 2
  assert sorted(reds(splits.train) + reds(splits.test)) == list(range(20))
  assert reds(splits.test) == reds(images.load("", folder=folder / "train", num_validation=5).test)


def test_splits_have_one_number_of_channels(make):
  folder = make(*SPLITS)
  for path in (folder / "train").rglob("*.png"):
    Image.new("L", (8, 8), 7).save(path)
  splits = images.load("", folder=folder, size=8, num_validation=5)
  assert {data.images.shape[1:] for data in splits} == {(8, 8, 3)}


@pytest.mark.parametrize("paths, message", [
    (["train/1.png", "test/2.png"], "the splits test, train, but test has no subfolder per class"),
    (["train/a/1.png", "train/b/2.png", "test/3.png"], "test has no subfolder per class"),
    (["train/a/1.png", "train/b/2.png", "test/a/3.png", "more/a/4.png"], "but also more; move it"),
    (["val/a/1.png", "test/a/2.png", "Test/b/2.png"], "expected train, and at most one"),
    (["train/a/1.png", "train/b/1.png", "val/a/2.png", "dev/b/2.png"], "at most one each"),
    (["train/a/1.png", "train/b/1.png", "test/c/2.png"], "test has the class c, but .*train does"),
    (["train/a/1.png", "test/a/2.png"], "at least two subfolders of .*train, .*got 1"),
])  # fmt: skip
def test_splits_that_are_incomplete_are_refused(make, paths, message):
  with pytest.raises(UserError, match=message):
    images.load("", folder=make(*paths), size=8, num_validation=1)


def test_from_folder_names_the_folder_below_which_the_classes_are(make):
  folder = make(*SPLITS)
  assert f"as in {folder}/train" in refusal(images.from_folder, folder)


@pytest.mark.parametrize("paths", [
    ["bus/1.png", "train/2.png"],
    ["bus/1.png", "train/steam/2.png", "tram/3.png"],
    ["bus/1.png", "test/2.png", "train/3.png"],
])  # fmt: skip
def test_a_class_may_have_the_name_of_a_split(make, paths):
  data = images.from_folder(make(*paths), 8)
  assert data.classes == tuple(path.split("/")[0] for path in paths)
  assert reds(data) == list(range(len(paths)))


def test_classes_are_named_in_any_letters(make):
  names = ["Käse", "кот", "猫", "قطة", "🐈", "a b", "100%"]
  composed = [unicodedata.normalize("NFC", name) for name in names]
  folder = make(*(f"{unicodedata.normalize('NFD', name)}/1.png" for name in names))
  data = images.from_folder(folder, 8)
  assert data.classes == tuple(sorted(composed))
  assert [composed.index(data.classes[k]) for k in data.labels] == reds(data)
  make("Käse/2.png")
  assert "two subfolders named Käse" in refusal(images.from_folder, folder)


def test_letters_are_compared_in_composed_form_across_splits(make):
  train, test = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
  folder = make(f"train/{train}/1.png", "train/a/2.png", f"test/{test}/3.png")
  splits = images.load("", folder=folder, size=8, num_validation=0)
  assert splits.test.classes[splits.test.labels[0]] == train


def test_a_name_that_is_not_utf8_is_refused(make):
  folder = make("cat/1.png", "dog/1.png")
  os.mkdir(os.fsencode(folder) + b"/caf\xe9")
  assert r"caf\udce9' is not UTF-8; rename it" in refusal(images.from_folder, folder)


def test_an_unreadable_folder_is_refused(make, monkeypatch):
  def refuse(self):
    raise PermissionError(13, "Permission denied", str(self))

  folder = make("cat/1.png", "dog/1.png")
  monkeypatch.setattr(type(folder), "iterdir", refuse)
  assert f"{folder} cannot be read: Permission denied" in refusal(image_folders.splits, folder)
