"""The programs on the image classifier: predictions of files, fine-tuning on a folder of images.

Data that cannot be used are in test_bad_input.py.
"""

import json
import shutil

import jax
import numpy as np
from PIL import Image
import programs as programs_lib
import pytest

import dlx
from dlx.data import images as image_data
from dlx.errors import UserError
from experiments.resnet_cifar10 import config as configs

DEBUG = "--config=experiments/resnet_cifar10/config.py:debug"


@pytest.fixture
def run(trained, tmp_path_factory):
  """A copy of a trained run: evaluation writes into it."""
  copy = tmp_path_factory.mktemp("copy") / "run"
  return shutil.copytree(trained("experiments.resnet_cifar10:debug"), copy)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """Files of three images, one per class."""
  folder = tmp_path_factory.mktemp("pictures")
  data = image_data.shapes(3, size=16, seed=5)
  for image, label in zip(data.images, data.labels):
    Image.fromarray(image).save(folder / f"{data.classes[label]}.png")
  return sorted(folder.iterdir())


@pytest.mark.full
def test_evaluate_prints_the_accuracy_of_each_class(programs, run):
  finished = programs("launch.evaluate", f"--workdir={run}", "--split=test")
  assert finished.code == 0, finished
  metrics = dict(line.split(": ") for line in finished.out.splitlines()[1:])
  assert metrics["examples"] == "96"
  classes = [float(metrics[f"accuracy of {name}"]) for name in ("disc", "square", "cross")]
  # The classes are equally frequent.
  assert abs(np.mean(classes) - float(metrics["accuracy"])) < 1e-3
  assert 0 <= float(metrics["calibration error"]) <= 1 and float(metrics["loss"]) > 0
  for name in ("confusion_test.png", "errors_test.png", "filters.png"):
    assert (run / name).read_bytes().startswith(b"\x89PNG")


@pytest.mark.full
def test_predict_names_the_most_probable_classes_and_an_export_does_the_same(
    programs, run, pictures, tmp_path
):
  finished = programs("launch.predict", f"--workdir={run}", "--top=2", *pictures)
  assert finished.code == 0, finished
  lines = finished.out.splitlines()
  assert [line.split(": ")[0] for line in lines] == [str(path) for path in pictures]
  for line in lines:
    percent = [float(part.split()[1].rstrip("%")) for part in line.split(": ")[1].split(", ")]
    assert len(percent) == 2 and percent[0] >= percent[1] and sum(percent) <= 100.1
  exported = tmp_path / "exported"
  assert programs("launch.export", f"--workdir={run}", f"--output={exported}").code == 0
  same = programs("launch.predict", f"--workdir={exported}", "--top=2", *pictures)
  assert same.out == finished.out


@pytest.fixture
def folder(tmp_path):
  """A folder of 40 images in two classes."""
  rng = np.random.default_rng(0)
  for name in ("bright", "dark"):
    (tmp_path / "data" / name).mkdir(parents=True)
    for i in range(20):
      pixels = rng.integers(0, 100, (16, 16, 3)) + (150 if name == "bright" else 0)
      Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / name / f"{i}.png")
  return tmp_path / "data"


@pytest.mark.full
def test_fine_tuning_on_a_folder_trains_the_head_and_nothing_else(
    programs, run, folder, tmp_path
):
  changes = {
      "data.images": str(folder), "data.num_validation": 8, "data.batch_size": 8,
      "trainable": "head", "training.total_steps": 8, "optimizer.learning_rate": 1.0,
      "init_from": str(run),
  }  # fmt: skip
  workdir = tmp_path / "tuned"
  flags = [f"--config.{key}={value}" for key, value in changes.items()]
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}", *flags)
  assert finished.code == 0, finished
  assert json.loads((workdir / "assets.json").read_text())["classes"] == ["bright", "dark"]
  before = programs_lib.state_of(run, dlx.load_run(run).step)["ema"]
  after = programs_lib.state_of(workdir)["params"]
  assert after["head"]["bias"].shape == (2,) and after["head"]["bias"].any()
  for name in set(after) - {"head"}:
    jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
  # Another architecture is refused.
  with pytest.raises(UserError, match="another architecture"):
    wide = configs.get_config("debug", {**changes, "model.width": 0.25})
    dlx.train(wide, tmp_path / "wide")
  assert not (tmp_path / "wide").exists()


def test_predict_refuses_a_file_that_is_not_an_image(programs, run, tmp_path):
  (tmp_path / "text.png").write_text("no image")
  for args, message in {
      (tmp_path / "text.png",): "is not an image",
      (tmp_path / "none.png",): "does not exist",
      (): "no input",
      ("--top=0", tmp_path / "text.png"): "--top=0",
  }.items():
    finished = programs("launch.predict", f"--workdir={run}", *args)
    assert finished.code == 2 and finished.out == "" and message in finished.err, finished
    assert finished.err.count("\n") == 1
