"""Images: class folders, generated shapes, TFDS data sets with their cache, and splits."""

import os

import numpy as np
from PIL import Image
import pytest

from dlx import cache
from dlx.data import images
from dlx.data.split import train_validation_split
from dlx.errors import UserError


def assert_same(data, expected):
  np.testing.assert_array_equal(data.images, expected.images)
  np.testing.assert_array_equal(data.labels, expected.labels)
  assert data.classes == expected.classes


@pytest.fixture
def folder(tmp_path):
  rng = np.random.default_rng(0)
  for name, count in (("dog", 2), ("cat", 3)):
    (tmp_path / name).mkdir()
    for i in range(count):
      pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
      Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
  return tmp_path


def test_a_folder_has_one_class_per_subfolder(folder):
  (folder / ".hidden").mkdir()
  (folder / "cat" / "notes.txt").write_text("a text file")
  data = images.from_folder(folder, 8)
  assert data.classes == ("cat", "dog")
  np.testing.assert_array_equal(data.labels, [0, 0, 0, 1, 1])
  assert data.images.dtype == np.uint8 and data.images.shape == (5, 8, 8, 3)
  with Image.open(folder / "dog" / "1.png") as image:
    np.testing.assert_array_equal(data.images[4], np.asarray(image))


def test_an_image_is_scaled_to_cover_the_square_and_cropped_at_the_centre(tmp_path):
  wide = np.zeros((10, 40, 3), np.uint8)
  wide[:, 15:25] = 200
  Image.fromarray(wide).save(tmp_path / "wide.png")
  np.testing.assert_array_equal(images.read(tmp_path / "wide.png", 10), 200)
  small = images.read(tmp_path / "wide.png", 5)
  assert small.shape == (5, 5, 3)
  assert small[2, 2].tolist() == [200, 200, 200]


# File name: a gray image of two halves, and their values.
GRAY = {
    "bits.png": (np.array([[False, True]]), [0, 255]),
    "bytes.png": (np.array([[7, 200]], np.uint8), [7, 200]),
    "words.png": (np.array([[7 * 256, 200 * 256 + 9]], np.uint16), [7, 200]),
}


@pytest.mark.parametrize("name", [*GRAY, "alpha.png"])
def test_gray_images_have_one_channel_or_three(tmp_path, name):
  if name == "alpha.png":
    Image.merge("LA", [Image.new("L", (4, 4), value) for value in (7, 51)]).save(tmp_path / name)
    expected = np.full((4, 4), round(0.2 * 7 + 0.8 * 255))  # On white.
  else:
    pixels, values = GRAY[name]
    Image.fromarray(pixels.repeat(4, 0).repeat(2, 1)).save(tmp_path / name)
    expected = np.array([values] * 4).repeat(2, 1)
  gray = images.read(tmp_path / name, 4, channels=1)
  assert gray.dtype == np.uint8 and gray.shape == (4, 4, 1)
  np.testing.assert_array_equal(gray[..., 0], expected)
  np.testing.assert_array_equal(images.read(tmp_path / name, 4), gray.repeat(3, 2))


def test_colours_become_luminance(tmp_path):
  Image.new("RGBA", (4, 4), (100, 200, 50, 255)).save(tmp_path / "alpha.png")
  np.testing.assert_array_equal(images.read(tmp_path / "alpha.png", 4)[0, 0], [100, 200, 50])
  luminance = 0.299 * 100 + 0.587 * 200 + 0.114 * 50
  gray = images.read(tmp_path / "alpha.png", 4, channels=1)
  np.testing.assert_allclose(gray, np.full((4, 4, 1), luminance), atol=1)
  with pytest.raises(ValueError, match="channels: expected 1 or 3, got 2"):
    images.read(tmp_path / "alpha.png", 4, channels=2)


def test_a_folder_has_one_channel_if_all_images_are_gray(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    for file, (pixels, _) in GRAY.items():
      Image.fromarray(pixels).save(tmp_path / name / file)
  gray = images.from_folder(tmp_path, 8)
  assert gray.images.shape == (6, 8, 8, 1)
  Image.new("RGB", (2, 1), (5, 5, 5)).save(tmp_path / "b" / "z.png")
  colour = images.from_folder(tmp_path, 8)
  assert colour.images.shape == (7, 8, 8, 3)
  np.testing.assert_array_equal(colour.images[:6], gray.images.repeat(3, 3))


def test_files_that_are_not_images_are_named(folder, tmp_path):
  content = (folder / "cat" / "0.png").read_bytes()
  broken = {"text.png": b"hello", "empty.png": b"", "cut.png": content[: len(content) // 2]}
  for name, content in broken.items():
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{name} (is not an image|cannot be read as an image)"):
      images.read(path, 8)
  with pytest.raises(UserError, match="none.png does not exist"):
    images.read(tmp_path / "none.png", 8)
  with pytest.raises(UserError, match="cat is not an image"):
    images.read(folder / "cat", 8)


def test_folders_without_classes_are_refused(tmp_path):
  with pytest.raises(UserError, match="none is not a folder; expected .* a subfolder per class"):
    images.load("", folder=tmp_path / "none", num_validation=1)
  (tmp_path / "cat").mkdir()
  with pytest.raises(UserError, match="expected at least two subfolders .*, got 1"):
    images.load("", folder=tmp_path, num_validation=1)
  (tmp_path / "dog").mkdir()
  with pytest.raises(UserError, match="cat has no images"):
    images.load("", folder=tmp_path, num_validation=1)


def test_shapes_are_balanced_and_differ_from_their_background():
  data = images.shapes(300, size=16)
  np.testing.assert_array_equal(np.bincount(data.labels), [100, 100, 100])
  assert data.images.shape == (300, 16, 16, 3) and len(data.classes) == 3
  # The shape is in the centre: there the colour differs from the corner's.
  centre, corner = data.images[:, 8, 8].astype(int), data.images[:, 0, 0].astype(int)
  assert np.mean(np.abs(centre - corner).max(-1) > 60) > 0.8


@pytest.mark.parametrize("source, size, channels", [("shapes", 32, 3), ("gray_shapes", 28, 1)])
def test_the_splits_of_shapes_are_drawn_from_two_seeds(source, size, channels):
  splits = images.load(source, num_validation=100)
  expected = images.shapes(480, size, seed=480, channels=channels)
  assert_same(splits.train, train_validation_split(expected, 100)[0])
  assert_same(splits.validation, train_validation_split(expected, 100)[1])
  assert_same(splits.test, images.shapes(96, size, seed=96, channels=channels))
  assert splits.test.arrays["images"].shape == (96, size, size, channels)
  assert images.load(source, size=16, num_validation=100).train.images.shape[1:3] == (16, 16)


def test_gray_shapes_have_the_outlines_of_coloured_ones():
  outlines = []
  for channels in (1, 3):
    pixels = images.shapes(30, size=16, channels=channels).images.astype(float)
    background = pixels[:, ::15, ::15].mean((1, 2), keepdims=True)  # The corners.
    outlines.append(np.abs(pixels - background).mean(-1) > 40)
  assert (outlines[0] == outlines[1]).mean() > 0.99
  assert outlines[0].any((1, 2)).all()


def test_a_tenth_of_a_folder_is_the_test_split(tmp_path):
  for name, label in (("a", 0), ("b", 100)):
    (tmp_path / name).mkdir()
    for i in range(20):
      Image.new("RGB", (8, 8), (label + i, 0, 0)).save(tmp_path / name / f"{i}.png")
  splits = images.load("", folder=tmp_path, size=8, num_validation=6)
  assert [len(data) for data in splits] == [30, 6, 4]
  values = np.concatenate([data.images[:, 0, 0, 0] for data in splits])
  assert {*values} == {*range(20), *range(100, 120)}
  for data in splits:
    np.testing.assert_array_equal(data.labels, data.images[:, 0, 0, 0] // 100)
  expected = train_validation_split(images.from_folder(tmp_path, 8), 4, seed=1)[1]
  assert_same(splits.test, expected)
  assert images.load("", folder=tmp_path, num_validation=6).train.images.shape[1:] == (32, 32, 3)


def test_take_selects_examples_and_arrays_are_images_and_labels():
  data = images.shapes(6, size=8)
  some = data.take(np.array([4, 0]))
  assert len(some) == 2 and list(some.arrays) == ["images", "labels"]
  np.testing.assert_array_equal(some.arrays["images"], data.images[[4, 0]])
  np.testing.assert_array_equal(some.arrays["labels"], data.labels[[4, 0]])


def test_an_unknown_source_is_refused():
  message = "source: expected one of cifar10, .*, gray_shapes, got 'cifar'; or use a folder"
  with pytest.raises(UserError, match=message):
    images.load("cifar", num_validation=1)


class FakeSource(list):
  """Examples in the form of tfds.data_source, with a count of reads."""

  reads = 0

  def __getitem__(self, i):
    FakeSource.reads += 1
    return super().__getitem__(i)


@pytest.fixture
def cifar10(monkeypatch, tmp_path):
  data = images.shapes(9, size=32)
  examples = FakeSource(
      {"image": image, "label": label} for image, label in zip(data.images, data.labels)
  )
  monkeypatch.setattr(images.tfds, "load", lambda name, split: examples)
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
  FakeSource.reads = 0
  return data


def test_a_tfds_set_is_decoded_once(cifar10):
  first = images.from_tfds("cifar10", "train")
  assert FakeSource.reads == 9
  again = images.from_tfds("cifar10", "train")
  assert FakeSource.reads == 9
  for data in (first, again):
    np.testing.assert_array_equal(data.images, cifar10.images)
    np.testing.assert_array_equal(data.labels, cifar10.labels)
  assert len(first.classes) == 10


@pytest.mark.parametrize("keep", [0, 100])
def test_a_corrupted_cache_is_written_again(cifar10, keep):
  images.from_tfds("cifar10", "train")
  (path,) = cache.folder().iterdir()
  path.write_bytes(path.read_bytes()[:keep])
  np.testing.assert_array_equal(images.from_tfds("cifar10", "train").images, cifar10.images)
  assert FakeSource.reads == 18


def test_a_cache_that_cannot_be_written_is_ignored(cifar10, tmp_path):
  (tmp_path / "cache").write_text("a file in place of the folder")
  np.testing.assert_array_equal(images.from_tfds("cifar10", "train").images, cifar10.images)


def test_corrupted_files_of_the_data_set_are_named(cifar10, monkeypatch):
  def fail(self, i):
    raise ValueError("truncated record")

  monkeypatch.setattr(FakeSource, "__getitem__", fail)
  with pytest.raises(UserError, match="cifar10 .train. are corrupted .ValueError.; delete"):
    images.from_tfds("cifar10", "train")


def test_an_unprepared_set_suggests_a_folder(monkeypatch):
  def fail(name, split):
    raise UserError("cifar10 is not prepared")

  monkeypatch.setattr(images.tfds, "load", fail)
  with pytest.raises(UserError, match="not prepared; or use a folder of images"):
    images.from_tfds("cifar10", "train")


@pytest.mark.parametrize("source, size", [("cifar10", 32), ("fashion_mnist", 28), ("mnist", 28)])
def test_a_size_must_be_that_of_the_data_set(source, size, monkeypatch):
  monkeypatch.setattr(images, "from_tfds", lambda name, split: images.shapes(20, 4))
  for accepted in (None, size):
    splits = images.load(source, size=accepted, num_validation=5)
    assert [len(data) for data in splits] == [15, 5, 20]
  with pytest.raises(UserError, match=f"^size: expected {size} or None for {source}, got 48$"):
    images.load(source, size=48, num_validation=5)


@pytest.mark.parametrize("source, shape, count, means", [
    # The means of the test images over all pixels, in 0 .. 1.
    ("cifar10", (32, 32, 3), 10_000, [0.494, 0.485, 0.450]),
    ("fashion_mnist", (28, 28, 1), 10_000, [0.287]),
    ("mnist", (28, 28, 1), 10_000, [0.133]),
])  # fmt: skip
def test_the_real_tfds_sets(monkeypatch, tmp_path, source, shape, count, means):
  monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
  if not os.environ.get("TFDS_DATA_DIR"):
    pytest.skip(f"needs TFDS_DATA_DIR with {source}")
  try:
    data = images.from_tfds(source, "test")
  except UserError as e:
    pytest.skip(str(e))
  assert data.images.shape == (count, *shape) and data.images.dtype == np.uint8
  assert len(np.unique(data.labels)) == len(data.classes) == 10
  np.testing.assert_allclose(data.images.mean((0, 1, 2)) / 255, means, atol=2e-3)
  if source != "mnist":
    np.testing.assert_array_equal(np.bincount(data.labels), [1000] * 10)
