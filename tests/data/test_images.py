"""Image data: folders of one's own, files that are no images, the cache, CIFAR-10."""

import os

import numpy as np
from PIL import Image
import pytest

from dlx import cache
from dlx.data import images
from dlx.errors import UserError


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  for name, count in (("dog", 2), ("cat", 3)):
    (tmp_path / name).mkdir()
    for i in range(count):
      pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
  return tmp_path


def test_a_folder_has_a_class_for_each_subfolder(folder):
  (folder / ".hidden").mkdir()
  (folder / "cat" / "notes.txt").write_text("no image")
  data = images.from_folder(folder, 8)
  assert data.classes == ("cat", "dog")
  np.testing.assert_array_equal(data.labels, [0, 0, 0, 1, 1])
  assert data.images.dtype == np.uint8 and data.images.shape == (5, 8, 8, 3)
  with Image.open(folder / "dog" / "1.png") as image:
    np.testing.assert_array_equal(data.images[4], np.asarray(image))


def test_an_image_is_scaled_to_cover_the_square_and_cut_in_the_middle(tmp_path):
  wide = np.zeros((10, 40, 3), np.uint8)
  wide[:, 15:25] = 200
  Image.fromarray(wide).save(tmp_path / "wide.png")
  np.testing.assert_array_equal(images.read(tmp_path / "wide.png", 10), 200)
  small = images.read(tmp_path / "wide.png", 5)
  assert small.shape == (5, 5, 3)
  assert small[2, 2].tolist() == [200, 200, 200]


def test_grey_and_transparent_images_have_three_channels(tmp_path):
  Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
  Image.new("RGBA", (4, 4), (1, 2, 3, 255)).save(tmp_path / "alpha.png")
  np.testing.assert_array_equal(images.read(tmp_path / "grey.png", 4), 7)
  np.testing.assert_array_equal(images.read(tmp_path / "alpha.png", 4)[0, 0], [1, 2, 3])


def test_files_that_are_no_images_are_named(folder, tmp_path):
  whole = (folder / "cat" / "0.png").read_bytes()
  broken = {"text.png": b"hello", "empty.png": b"", "cut.png": whole[: len(whole) // 2]}
  for name, content in broken.items():
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} (is not an image|cannot be read as an image)"):
      images.read(path, 8)
  with pytest.raises(UserError, match="none.png does not exist"):
    images.read(tmp_path / "none.png", 8)
  with pytest.raises(UserError, match="cat is not an image"):
    images.read(folder / "cat", 8)


def test_folders_that_are_no_data_sets_are_named(tmp_path):
  with pytest.raises(UserError, match="none is not a folder; give one subfolder a class"):
    images.from_folder(tmp_path / "none", 8)
  (tmp_path / "cat").mkdir()
  with pytest.raises(UserError, match="has 1 subfolder.*at least two classes"):
    images.from_folder(tmp_path, 8)
  (tmp_path / "dog").mkdir()
  with pytest.raises(UserError, match="cat has no image"):
    images.from_folder(tmp_path, 8)


def test_the_fingerprint_tells_data_apart():
  data = images.shapes(6, size=8)
  assert data.fingerprint == images.shapes(6, size=8).fingerprint
  assert data.fingerprint != images.shapes(6, size=8, seed=1).fingerprint
  assert data.fingerprint != data.take(slice(5)).fingerprint


def test_shapes_have_every_class_as_often_and_look_different():
  data = images.shapes(300, size=16)
  np.testing.assert_array_equal(np.bincount(data.labels), [100, 100, 100])
  assert data.images.shape == (300, 16, 16, 3) and len(data.classes) == 3
  # The form is in the middle: there the colour differs from the corner's.
  middle, corner = data.images[:, 8, 8].astype(int), data.images[:, 0, 0].astype(int)
  assert np.mean(np.abs(middle - corner).max(-1) > 60) > 0.8


class FakeSource(list):
  """Examples as tfds.data_source gives them, which counts how often it is read."""

  reads = 0

  def __getitem__(self, i):
    FakeSource.reads += 1
    return super().__getitem__(i)


@pytest.fixture
def source(monkeypatch, tmp_path):
  data = images.shapes(9, size=32)
  examples = FakeSource(
      {"image": image, "label": label} for image, label in zip(data.images, data.labels)
  )
  monkeypatch.setattr(images.tfds, "load", lambda name, split: examples)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  FakeSource.reads = 0
  return data


def test_cifar10_is_decoded_once(source):
  first = images.cifar10("train")
  assert FakeSource.reads == 9
  again = images.cifar10("train")
  assert FakeSource.reads == 9
  for data in (first, again):
    np.testing.assert_array_equal(data.images, source.images)
    np.testing.assert_array_equal(data.labels, source.labels)
  assert len(first.classes) == 10


@pytest.mark.parametrize("keep", [0, 100])
def test_a_damaged_cache_is_made_again(source, keep):
  images.cifar10("train")
  (path,) = cache.folder().iterdir()
  path.write_bytes(path.read_bytes()[:keep])
  np.testing.assert_array_equal(images.cifar10("train").images, source.images)
  assert FakeSource.reads == 18


def test_a_cache_that_cannot_be_written_does_not_matter(source, tmp_path):
  (tmp_path / "cache").write_text("a file where the folder should be")
  np.testing.assert_array_equal(images.cifar10("train").images, source.images)


def test_damaged_files_of_the_data_set_are_named(source, monkeypatch):
  def fail(self, i):
    raise ValueError("truncated record")

  monkeypatch.setattr(FakeSource, "__getitem__", fail)
  with pytest.raises(UserError, match="cifar10 .train. are damaged .ValueError.; delete"):
    images.cifar10("train")


def test_an_unprepared_set_leaves_a_folder_to_train_on(monkeypatch):
  def fail(name, split):
    raise UserError("cifar10 is not prepared")

  monkeypatch.setattr(images.tfds, "load", fail)
  with pytest.raises(UserError, match="not prepared; or train on.*--config.data.images=DIR"):
    images.cifar10("train")


def test_the_real_cifar10(monkeypatch, tmp_path):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  if not os.environ.get("TFDS_DATA_DIR"):
    pytest.skip("needs TFDS_DATA_DIR with cifar10")
  data = images.cifar10("test")
  assert data.images.shape == (10_000, 32, 32, 3)
  np.testing.assert_array_equal(np.bincount(data.labels), [1000] * 10)
  mean = data.images.mean((0, 1, 2)) / 255
  np.testing.assert_allclose(mean, [0.494, 0.485, 0.450], atol=2e-3)  # That of the test images.
