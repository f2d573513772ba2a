"""The image classifier's programs on the debug preset: train, resume, evaluate, predict, export."""

import json
import re
import shutil

import jax
import numpy as np
from PIL import Image
import pytest

from dlx.data import images as image_data

DEBUG = "--config=experiments/resnet_cifar10/config.py:debug"


@pytest.fixture(scope="module")
def run(programs, tmp_path_factory):
  """The folder of a trained run."""
  workdir = tmp_path_factory.mktemp("images") / "run"
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}", timeout=300)
  assert finished.code == 0, finished
  assert (workdir / "curves.png").read_bytes().startswith(b"\x89PNG")
  return workdir


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
  """Files of three images, one a class, and their classes."""
  folder = tmp_path_factory.mktemp("pictures")
  data = image_data.shapes(3, size=16, seed=5)
  for image, label in zip(data.images, data.labels):
    Image.fromarray(image).save(folder / f"{data.classes[label]}.png")
  return sorted(folder.iterdir())


def test_resumed_in_the_middle_of_an_epoch_it_is_the_run_left_alone(resumes, run):
  resumes(DEBUG, run, before=16, last=24)


def test_evaluate_prints_figures_and_draws_pictures(programs, run):
  finished = programs("launch.evaluate", f"--workdir={run}", "--split=test", timeout=300)
  assert finished.code == 0, finished
  figures = dict(line.split(": ") for line in finished.out.splitlines()[1:])
  assert figures["images"] == "96"
  of_classes = [float(figures[f"accuracy of {name}"]) for name in ("disc", "square", "cross")]
  # The classes are equally frequent.
  assert abs(np.mean(of_classes) - float(figures["accuracy"])) < 1e-3
  assert 0 <= float(figures["calibration error"]) <= 1 and float(figures["loss"]) > 0
  for name in ("confusion_test.png", "mistakes_test.png"):
    assert (run / name).read_bytes().startswith(b"\x89PNG")


def test_predict_names_the_likeliest_classes_and_an_export_does_the_same(
    programs, run, pictures, tmp_path
):
  finished = programs("launch.predict", f"--workdir={run}", "--top=2", *pictures, timeout=300)
  assert finished.code == 0, finished
  lines = finished.out.splitlines()
  assert [line.split(": ")[0] for line in lines] == [str(path) for path in pictures]
  for line in lines:
    shares = [float(part.split()[1].rstrip("%")) for part in line.split(": ")[1].split(", ")]
    assert len(shares) == 2 and shares[0] >= shares[1] and sum(shares) <= 100.1
  exported = tmp_path / "exported"
  assert programs("launch.export", f"--workdir={run}", f"--output={exported}").code == 0
  same = programs("launch.predict", f"--workdir={exported}", "--top=2", *pictures, timeout=300)
  assert same.out == finished.out


def test_fine_tuning_on_a_folder_trains_the_head_and_nothing_else(
    programs, run, tmp_path, state
):
  rng = np.random.default_rng(0)
  for name in ("bright", "dark"):
    (tmp_path / "data" / name).mkdir(parents=True)
    for i in range(20):
      pixels = rng.integers(0, 100, (16, 16, 3)) + (150 if name == "bright" else 0)
      Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "data" / name / f"{i}.png")
  workdir = tmp_path / "tuned"
  flags = [
      f"--config.data.images={tmp_path / 'data'}", "--config.data.validation=8",
      "--config.data.batch_size=8", "--config.trainable=head",
      "--config.training.total_steps=8", "--config.optimizer.learning_rate=1.0",
  ]  # fmt: skip
  command = ["launch.train", DEBUG, f"--workdir={workdir}", *flags]
  finished = programs(*command, f"--config.init_from={run}", timeout=300)
  assert finished.code == 0, finished
  assert json.loads((workdir / "classes.json").read_text())["classes"] == ["bright", "dark"]
  before, after = state(run, 24)["ema"], state(workdir, 8)["params"]
  assert after["head"]["bias"].shape == (2,) and after["head"]["bias"].any()
  for name in set(after) - {"head"}:
    jax.tree.map(np.testing.assert_array_equal, after[name], before[name])
  # Another architecture is refused, and so is a folder that is no run.
  wide = tmp_path / "wide"
  command = ["launch.train", DEBUG, f"--workdir={wide}", *flags, "--config.model.width=0.25"]
  finished = programs(*command, f"--config.init_from={run}")
  assert finished.code == 2 and "another architecture" in finished.err, finished
  finished = programs(*command, f"--config.init_from={tmp_path}")
  assert finished.code == 2 and "is not a run" in finished.err
  assert not wide.exists()


BAD = {
    "a batch too large": (["--config.data.batch_size=400"], "batch_size is 400.*384"),
    "no validation": (["--config.data.validation=0"], "validation is 0"),
    "validation takes all": (["--config.data.validation=480"], "validation is 480"),
    "an unknown network": (["--config.model.name=resnet19"], "'resnet19'; use fast, wide_fast"),
    "an unknown optimizer": (["--config.optimizer.name=adam"], "'adam'; use sgd, adamw, muon"),
    "an unknown dtype": (["--config.model.dtype=float16"], "use float32, bfloat16"),
    "float64 without x64": (["--config.model.dtype=float64"], "JAX_ENABLE_X64=1"),
    "an unknown flip": (["--config.augmentation.flip=yes"], "use alternating, random, none"),
    "unknown views": (["--config.test_time=all"], "use none, flip, flip_shift"),
    "a crop as large as the image": (["--config.augmentation.crop=16"], "crop is 16; use 0 to 15"),
    "a tiny image": (["--config.data.size=8"], "size is 8; .*at least 16"),
    "an unknown source": (["--config.data.source=mnist"], "'mnist'; use cifar10 or shapes"),
    "cifar10 in another size": (["--config.data.source=cifar10"], "images have 32"),
    "no folder": (["--config.data.images=/nowhere"], "/nowhere is not a folder"),
}


@pytest.mark.parametrize("args, message", BAD.values(), ids=BAD)
def test_bad_input_is_one_line_and_leaves_nothing(programs, tmp_path, args, message):
  workdir = tmp_path / "run"
  finished = programs("launch.train", DEBUG, f"--workdir={workdir}", *args)
  assert finished.code == 2 and finished.out == "", finished
  assert finished.err.count("\n") == 1 and "Traceback" not in finished.err
  assert not workdir.exists()
  assert re.search(message, finished.err), finished.err


def test_predict_refuses_what_is_no_image(programs, run, tmp_path):
  (tmp_path / "text.png").write_text("no image")
  finished = programs("launch.predict", f"--workdir={run}", tmp_path / "text.png")
  assert finished.code == 2 and finished.out == "" and "is not an image" in finished.err
  assert finished.err.count("\n") == 1
  assert programs("launch.predict", f"--workdir={run}").code == 2
  finished = programs("launch.predict", f"--workdir={run}", "--top=0", tmp_path / "text.png")
  assert finished.code == 2 and "--top=0" in finished.err


def test_other_images_are_not_resumed_on(programs, run, tmp_path):
  workdir = shutil.copytree(run, tmp_path / "run")
  finished = programs(
      "launch.train", DEBUG, f"--workdir={workdir}", "--config.data.validation=90", "--override"
  )
  assert finished.code == 2 and "not those that the run in" in finished.err
