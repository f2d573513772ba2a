"""MNIST's IDX files: values, names, class names, and one clear error for each bad input."""

import gzip
import struct
import subprocess

import numpy as np
import pytest

from dlx.data import idx, images
from dlx.data.split import train_validation_split
from dlx.errors import UserError

RNG = np.random.default_rng(0)
COUNTS = {"train": 30, "t10k": 8}
PIXELS = {k: RNG.integers(0, 256, (n, 5, 5), dtype=np.uint8) for k, n in COUNTS.items()}
LABELS = {k: (np.arange(n) % 4).astype(np.uint8) for k, n in COUNTS.items()}


def encode(array, magic=None):
  """An IDX file of unsigned bytes."""
  magic = 0x800 + array.ndim if magic is None else magic
  return struct.pack(f">{1 + array.ndim}I", magic, *array.shape) + array.tobytes()


def write(folder, *, dash="-", gz=False, **contents):
  """Writes the four files; `contents` replaces some, for example train_images=b"..."."""
  folder.mkdir(exist_ok=True)
  for prefix in COUNTS:
    for kind, arrays, suffix in (("images", PIXELS, "idx3"), ("labels", LABELS, "idx1")):
      content = contents.get(f"{prefix}_{kind}", encode(arrays[prefix]))
      if content is None:
        continue
      name = f"{prefix}-{kind}{dash}{suffix}-ubyte"
      if gz:
        name, content = name + ".gz", gzip.compress(content)
      (folder / name).write_bytes(content)
  return folder


def load(folder, **options):
  return images.load("", folder=folder, num_validation=10, **options)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("dash", ["-", "."])
@pytest.mark.parametrize("size", [None, 5])
def test_a_folder_has_the_written_images_and_labels(tmp_path, dash, gz, size):
  splits = load(write(tmp_path, dash=dash, gz=gz), size=size)
  train = images.Images(PIXELS["train"][..., None], LABELS["train"], tuple("0123"))
  test = images.Images(PIXELS["t10k"][..., None], LABELS["t10k"], tuple("0123"))
  for data, expected in zip(splits, (*train_validation_split(train, 10), test)):
    assert data.images.dtype == np.uint8 and data.labels.dtype == np.int32
    np.testing.assert_array_equal(data.images, expected.images)
    np.testing.assert_array_equal(data.labels, expected.labels)
    assert data.classes == expected.classes


def test_some_files_may_be_gzipped_and_folders_of_classes_are_ignored(tmp_path):
  write(tmp_path)
  path = tmp_path / "train-images-idx3-ubyte"
  (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
  path.unlink()
  for name in ("cat", "dog"):
    (tmp_path / name).mkdir()
  np.testing.assert_array_equal(load(tmp_path).test.images[..., 0], PIXELS["t10k"])


def test_a_folder_of_fashion_mnist_has_its_class_names(tmp_path, monkeypatch):
  folder = write(tmp_path / "Fashion-MNIST")
  assert load(folder).train.classes == images.FASHION_MNIST_CLASSES
  monkeypatch.chdir(folder)
  assert load(".").train.classes == images.FASHION_MNIST_CLASSES
  for name in ("mnist", "fashion/mnist"):
    (tmp_path / name).mkdir(parents=True)
    assert load(write(tmp_path / name)).train.classes == ("0", "1", "2", "3")


def test_labels_use_the_whole_range_of_a_byte(tmp_path):
  labels = np.linspace(0, 255, 30).astype(np.uint8)
  assert len(load(write(tmp_path, train_labels=encode(labels))).train.classes) == 256


@pytest.mark.parametrize("contents, message", [
    ({"train_images": b""}, "train-images-idx3-ubyte is truncated: expected a header of 16 bytes"),
    ({"t10k_labels": b"\0\0\x08\1\0"}, "t10k-labels-idx1-ubyte is truncated: .* got 5 bytes"),
    ({"train_images": encode(PIXELS["train"])[:-1]},
     r"is truncated: expected 750 values for shape \(30, 5, 5\), got 749$"),
    ({"train_labels": encode(LABELS["train"]) + b"\0"},
     r"train-labels-idx1-ubyte is too long: expected 30 values for shape \(30,\), got 31$"),
    ({"train_images": struct.pack(">4I", 0x803, *[2**32 - 1] * 3)}, "is truncated: expected"),
    ({"train_images": encode(PIXELS["train"], 0xD03)},
     r"expected magic number 2051 \(IDX images\), got 3331$"),
    ({"t10k_labels": encode(PIXELS["t10k"])},
     r"expected magic number 2049 \(IDX labels\), got 2051$"),
    ({"t10k_labels": encode(LABELS["t10k"][:7])},
     "expected as many test labels as images, got 7 labels and 8 images$"),
    ({"train_images": encode(PIXELS["train"][:0]), "train_labels": encode(LABELS["train"][:0])},
     "has no train images$"),
    ({"t10k_images": encode(PIXELS["t10k"][:, :4])},
     r"expected images of one size, got \(5, 5\) for train and \(4, 5\) for test$"),
    ({"t10k_labels": encode(LABELS["t10k"] + np.uint8(1))},
     "expected test labels below 4, the number of classes, got 4$"),
    ({"t10k_labels": None, "train_images": None},
     "incomplete: train-images-idx3-ubyte, t10k-labels-idx1-ubyte is missing"),
])  # fmt: skip
def test_bad_files_are_refused_in_one_line(tmp_path, contents, message):
  write(tmp_path, **contents)
  with pytest.raises(UserError, match=message) as error:
    load(tmp_path)
  assert str(tmp_path) in str(error.value) and "\n" not in str(error.value)


def test_labels_beyond_the_names_of_fashion_mnist_are_refused(tmp_path):
  labels = LABELS["train"] + np.uint8(7)
  folder = write(tmp_path / "fashion", train_labels=encode(labels))
  with pytest.raises(UserError, match="train labels below 10, the number of classes, got 10$"):
    load(folder)


def test_a_size_must_be_that_of_the_files(tmp_path):
  with pytest.raises(UserError, match=f"^size: expected 5 or None for {tmp_path}, got 28$"):
    load(write(tmp_path), size=28)


@pytest.mark.parametrize("change", [
    lambda content: b"", lambda content: content[:100], lambda content: b"text" + content[4:],
    lambda content: content[:40] + bytes(20) + content[60:],
    lambda content: content[:-8] + bytes(8), lambda content: content + b"text",
], ids=["empty", "truncated", "no magic number", "zeros", "checksum", "trailing"])  # fmt: skip
def test_a_corrupted_gzip_file_is_refused(tmp_path, change):
  path = write(tmp_path, gz=True) / "train-images-idx3-ubyte.gz"
  path.write_bytes(change(path.read_bytes()))
  with pytest.raises(UserError, match=f"^{path} is (not a valid gzip file|truncated: )") as error:
    load(tmp_path)
  assert "\n" not in str(error.value)


def test_an_unreadable_file_is_refused(tmp_path):
  with pytest.raises(UserError, match="cannot be read: Is a directory"):
    idx.read(tmp_path)


def fashion_mnist():
  """The folder of Debian's package dataset-fashion-mnist, or None."""
  try:
    listed = subprocess.run(["dpkg", "-L", "dataset-fashion-mnist"], capture_output=True, text=True)
  except OSError:
    return None
  files = [line for line in listed.stdout.splitlines() if line.endswith("idx3-ubyte.gz")]
  return files[0].rpartition("/")[0] if files else None


@pytest.mark.full
def test_the_real_fashion_mnist():
  folder = fashion_mnist()
  if not folder:
    pytest.skip("needs Debian's package: apt-get install dataset-fashion-mnist")
  splits = images.load("", folder=folder, num_validation=5000)
  assert [len(data) for data in splits] == [55_000, 5_000, 10_000]
  assert splits.test.images.shape == (10_000, 28, 28, 1)
  assert splits.test.classes == images.FASHION_MNIST_CLASSES
  np.testing.assert_array_equal(np.bincount(splits.test.labels), [1000] * 10)
  pixels = np.concatenate([splits.train.images, splits.validation.images]) / 255
  # Published mean and standard deviation of the training images.
  assert abs(pixels.mean() - 0.2860) < 1e-4 and abs(pixels.std() - 0.3530) < 1e-4
