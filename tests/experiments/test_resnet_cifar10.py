"""The image classifier: batches, loss, test-time augmentation and normalization, in plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import dlx
from dlx.data import images as image_data
from dlx.data import tta
from dlx.experiment import Rngs
from dlx.layers import losses
from dlx.models import fast_resnet
from dlx.runs import metric_log
from dlx.training import train
from experiments.resnet_cifar10 import config as configs
from experiments.resnet_cifar10 import experiment

DATA = image_data.shapes(24, size=16)
ARRAYS = DATA.arrays


def prepared(**changes) -> train.Prepared:
  return train.prepare(configs.get_config("debug", changes), None)


class Linear:
  """A model without layers: logits are linear in the pixels."""

  last_stage = ("head",)

  def apply(self, variables, x, train=False, mutable=False):
    logits = jnp.einsum("nhwc,hwck->nk", x.astype(jnp.float32), variables["params"])
    return (logits, {"batch_stats": {"seen": jnp.ones(())}}) if mutable else logits


MEAN, STD = np.float32([0.4, 0.5, 0.6]), np.float32([0.2, 0.25, 0.3])
ASSETS = {"classes": list(DATA.classes), "shape": [16, 16, 3], "mean": MEAN, "std": STD}


@pytest.fixture
def linear(monkeypatch):
  """`linear(**changes)`: (the task of a linear model, its variables)."""
  monkeypatch.setattr(experiment, "make_model", lambda config, num_classes: Linear())
  params = np.float32(0.05 * np.random.default_rng(0).normal(size=(16, 16, 3, 3)))

  def make(**changes):
    config = configs.get_config("debug", changes)
    return experiment.make(config, ASSETS), {"params": params, "batch_stats": {}}

  return make


def normalized(images):
  return (images / 255.0 - np.float64(MEAN)) / np.float64(STD)


def logits_in_numpy(images, params):
  return np.einsum("nhwc,hwck->nk", normalized(images), np.float64(params))


@pytest.mark.parametrize("preset", [p for p in configs.PRESETS if not p.startswith("debug")])
def test_the_network_of_a_preset_maps_images_to_logits(preset):
  model = experiment.make_model(configs.get_config(preset), 10)
  x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  variables = jax.eval_shape(model.init, jax.random.key(0), x)
  assert jax.eval_shape(model.apply, variables, x).shape == (2, 10)


def test_training_images_are_normalized_to_mean_0_and_variance_1():
  data = image_data.shapes(24, size=32)
  found = experiment.statistics(data)
  x = (data.images / 255 - found["mean"]) / found["std"]
  np.testing.assert_allclose(x.mean((0, 1, 2)), 0, atol=1e-5)
  np.testing.assert_allclose(x.std((0, 1, 2)), 1, atol=1e-5)
  np.testing.assert_allclose(found["whitening"], fast_resnet.whitening(x), atol=1e-3)


def test_images_of_one_color_do_not_divide_by_zero():
  data = image_data.Images(np.full((4, 16, 16, 3), 128, np.uint8), np.zeros(4, np.int32), ("a",))
  found = experiment.statistics(data)
  np.testing.assert_allclose((data.images / 255 - found["mean"]) / found["std"], 0, atol=1e-3)


PLAIN = {"augmentation.crop_padding": 0, "augmentation.cutout": 0, "augmentation.flip": "none"}


def batches_of(linear, steps, seed=0, **changes):
  task, _ = linear(**PLAIN | changes)
  batch = jax.jit(task.batch_fn)
  run_rng, arrays = jax.random.key(seed), jax.tree.map(jnp.asarray, ARRAYS)
  found = [
      batch(arrays, jnp.int32(s), Rngs(run_rng, jax.random.fold_in(jax.random.key(9), s)))
      for s in steps
  ]
  return [(np.asarray(b["images"]), np.asarray(b["labels"])) for b in found]


def indices_of(images):
  return [int(np.flatnonzero((DATA.images == image).all((1, 2, 3)))[0]) for image in images]


def test_without_augmentation_an_epoch_is_the_data_with_its_labels(linear):
  epoch = batches_of(linear, range(3), **{"data.batch_size": 8})
  seen = [index for images, _ in epoch for index in indices_of(images)]
  assert sorted(seen) == list(range(24))
  np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), DATA.labels[seen])


def test_alternating_flips_show_both_sides_in_two_epochs(linear):
  changes = {"augmentation.flip": "alternating", "data.batch_size": 24}
  (first, _), (second, _) = batches_of(linear, (0, 1), **changes)
  sides = {image.tobytes() for image in np.concatenate([first, second])}
  both = np.concatenate([DATA.images, DATA.images[:, :, ::-1]])
  assert sides == {image.tobytes() for image in both}


def test_the_order_depends_on_the_seed(linear):
  ((one, _),) = batches_of(linear, [0], **{"data.batch_size": 24})
  ((two, _),) = batches_of(linear, [0], seed=1, **{"data.batch_size": 24})
  assert indices_of(one) != indices_of(two)


def test_the_loss_is_smoothed_cross_entropy_of_normalized_images(linear):
  task, variables = linear(**{"augmentation.color_jitter": 0.0, "augmentation.mixup": 0.0})
  loss = jax.jit(task.loss_fn)(variables, ARRAYS, jax.random.key(0))
  logits = logits_in_numpy(DATA.images, variables["params"])
  labels = jnp.asarray(DATA.labels)
  expected = losses.cross_entropy(jnp.asarray(logits), labels, label_smoothing=0.2)
  np.testing.assert_allclose(loss.value, expected, rtol=1e-4)
  assert float(loss.metrics["accuracy"]) == (logits.argmax(-1) == DATA.labels).mean()
  assert set(loss.updated["batch_stats"]) == {"seen"}


@pytest.mark.parametrize("key", ["augmentation.mixup", "augmentation.color_jitter"])
def test_mixup_and_color_jitter_depend_on_the_key(linear, key):
  off = {"augmentation.color_jitter": 0.0, "augmentation.mixup": 0.0}
  task, variables = linear(**{**off, key: 0.5})
  loss_fn = jax.jit(task.loss_fn)
  values = {float(loss_fn(variables, ARRAYS, jax.random.key(k)).value) for k in (0, 1, 0)}
  assert len(values) == 2


@pytest.mark.parametrize("kind", tta.KINDS)
def test_views_are_averaged(linear, kind):
  task, variables = linear(tta=kind)
  found = task.outputs_fn(variables, ARRAYS)
  x = normalized(DATA.images)
  padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
  views = {
      "none": [(1, x)],
      "flip": [(1, x)],
      "flip_shift": [(0.5, x), (0.25, padded[:, 2:, 2:]), (0.25, padded[:, :-2, :-2])],
  }[kind]
  expected = 0
  for weight, view in views:
    sides = [view] if kind == "none" else [view, view[:, :, ::-1]]
    for side in sides:
      logits = np.einsum("nhwc,hwck->nk", side, variables["params"])
      expected = expected + weight / len(sides) * logits
  np.testing.assert_allclose(found, expected, atol=2e-4)


def test_splits_have_their_sizes_and_share_no_image():
  data = prepared().data
  splits = {s: getattr(data, s)["images"] for s in ("train", "validation", "test")}
  assert {s: len(images) for s, images in splits.items()} == {
      "train": 384, "validation": 96, "test": 96,
  }  # fmt: skip
  seen = {s: {image.tobytes() for image in images} for s, images in splits.items()}
  assert len(set().union(*seen.values())) == sum(map(len, seen.values()))


@pytest.mark.full
@pytest.mark.parametrize("preset", ["speedrun94", "speedrun96"])
def test_a_speedrun_trains_a_few_steps_in_bfloat16(preset, tmp_path):
  """The preset's recipe on narrower layers and fewer images."""
  config = configs.get_config(preset, {
      "data.dataset": "shapes", "data.num_validation": 96, "data.batch_size": 64,
      "model.width": 0.0625, "optimizer.warmup_steps": 1, "training.total_steps": 4,
      "training.steps_per_execution": 2, "training.eval_every": 4, "training.save_every": 4,
  })  # fmt: skip
  assert config.model.dtype == "bfloat16"
  dlx.train(config, tmp_path / "run")
  lines = metric_log.read(tmp_path / "run" / "metrics.jsonl")
  assert [line["step"] for line in lines] == [2, 4, 4]
  assert all(np.isfinite(value) for line in lines for value in line.values())
  params = dlx.load_run(tmp_path / "run").params
  assert all(p.dtype == np.float32 for p in jax.tree.leaves(params))
