"""The image classifier: presets, batches, loss, views and normalization, by plain numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import images as image_data
from dlx.errors import UserError
from dlx.layers import losses
from dlx.models import fast_resnet
from dlx.runs import metric_log
from dlx.runs import run as runs
from dlx.training import sharding
from experiments.resnet_cifar10 import config as configs
from experiments.resnet_cifar10 import evaluation, experiment

DATA = image_data.shapes(24, size=16)


def debug(**changes):
  config = configs.get_config("debug")
  with config.unlocked():
    config.update_from_flattened_dict(changes)
  return config


class Linear:
  """A model without layers: logits are sums over a corner of the image."""

  def apply(self, variables, x, train=False, mutable=False):
    logits = jnp.einsum("nhwc,hwck->nk", x.astype(jnp.float32), variables["params"])
    return (logits, {"batch_stats": {"seen": jnp.ones(())}}) if mutable else logits


def linear(seed=0):
  rng = np.random.default_rng(seed)
  params = jnp.asarray(0.05 * rng.normal(size=(16, 16, 3, 3)), jnp.float32)
  mean, std = jnp.array([0.4, 0.5, 0.6]), jnp.array([0.2, 0.25, 0.3])
  return Linear(), params, {"batch_stats": {}, "normalization": {"mean": mean, "std": std}}


def normalized(variables, images):
  of = {name: np.asarray(value, np.float64) for name, value in variables["normalization"].items()}
  return (np.asarray(images) / 255.0 - of["mean"]) / of["std"]


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_a_preset_has_every_key_is_locked_and_builds(preset, whole_preset):
  config = whole_preset(configs, experiment, preset)
  model = experiment.make_model(config, 10)
  x = jnp.zeros((2, config.data.size, config.data.size, 3))
  variables = jax.eval_shape(model.init, jax.random.key(0), x)
  assert jax.eval_shape(model.apply, variables, x).shape == (2, 10)
  make = experiment.OPTIMIZERS[config.optimizer.name]
  jax.eval_shape(make(config.optimizer, config.training.total_steps).init, variables["params"])


def test_an_unknown_preset_is_refused():
  with pytest.raises(UserError, match="'resnet19' is not one of cpu, resnet20"):
    configs.get_config("resnet19")


def test_training_images_are_brought_to_mean_0_and_variance_1():
  model = fast_resnet.FastResNet(3, widths=(4, 4, 4))
  data = image_data.shapes(24, size=32)
  _, variables = jax.jit(lambda rng: experiment.init_variables(model, rng, data))(
      jax.random.key(0)
  )
  x = np.asarray(evaluation.normalize(variables["normalization"], data.images / 255, jnp.float32))
  # numpy adds up float32 in float32.
  np.testing.assert_allclose(x.mean((0, 1, 2), dtype=np.float64), 0, atol=1e-5)
  np.testing.assert_allclose(x.std((0, 1, 2), dtype=np.float64), 1, atol=1e-5)
  np.testing.assert_allclose(
      variables["whitening"]["kernel"], fast_resnet.whitening(x), atol=1e-3
  )


def test_a_single_colour_does_not_divide_by_zero():
  data = image_data.Images(np.full((4, 16, 16, 3), 128, np.uint8), np.zeros(4, np.int32), ("a",))
  model = experiment.make_model(debug(), 1)
  _, variables = jax.jit(lambda rng: experiment.init_variables(model, rng, data))(
      jax.random.key(0)
  )
  x = evaluation.normalize(variables["normalization"], data.images / 255, jnp.float32)
  np.testing.assert_allclose(x, 0, atol=1e-3)


def batches_of(config, steps):
  batch = jax.jit(experiment.make_batch(config, len(DATA)))
  data = {"images": jnp.asarray(DATA.images), "labels": jnp.asarray(DATA.labels)}
  found = [batch(data, jnp.int32(s), jax.random.fold_in(jax.random.key(9), s)) for s in steps]
  return [(np.asarray(images), np.asarray(labels)) for images, labels in found]


PLAIN = {"augmentation.crop": 0, "augmentation.cutout": 0, "augmentation.flip": "none"}


def places(images):
  """Which of DATA's images these are."""
  return [int(np.flatnonzero((DATA.images == image).all((1, 2, 3)))[0]) for image in images]


def test_without_augmentation_an_epoch_is_the_data_with_its_labels():
  epoch = batches_of(debug(**PLAIN, **{"data.batch_size": 8}), range(3))
  seen = [place for images, _ in epoch for place in places(images)]
  assert sorted(seen) == list(range(24))
  np.testing.assert_array_equal(np.concatenate([y for _, y in epoch]), DATA.labels[seen])


def test_alternating_flips_show_both_sides_in_two_epochs():
  config = debug(**{**PLAIN, "augmentation.flip": "alternating", "data.batch_size": 24})
  (first, _), (second, _) = batches_of(config, (0, 1))
  sides = {image.tobytes() for image in np.concatenate([first, second])}
  both = np.concatenate([DATA.images, DATA.images[:, :, ::-1]])
  assert sides == {image.tobytes() for image in both}


def test_the_seed_decides_the_order():
  config = {**PLAIN, "data.batch_size": 24}
  ((one, _),) = batches_of(debug(**config), [0])
  ((two, _),) = batches_of(debug(**config, seed=1), [0])
  assert places(one) != places(two)


def test_the_loss_is_smoothed_cross_entropy_of_normalized_images():
  model, params, variables = linear()
  config = debug(**{"augmentation.colour": 0.0, "augmentation.mixup": 0.0})
  loss_fn = jax.jit(experiment.make_loss(config, model, 3))
  batch = jnp.asarray(DATA.images), jnp.asarray(DATA.labels)
  loss, (metrics, new) = loss_fn(params, variables, batch, jax.random.key(0))
  logits = np.einsum("nhwc,hwck->nk", normalized(variables, DATA.images), np.asarray(params))
  expected = losses.cross_entropy(jnp.asarray(logits), batch[1], label_smoothing=0.2)
  np.testing.assert_allclose(loss, expected, rtol=1e-4)
  assert float(metrics["accuracy"]) == (logits.argmax(-1) == DATA.labels).mean()
  assert set(new["batch_stats"]) == {"seen"} and "normalization" in new


def test_mixup_and_colour_change_the_loss_with_the_key():
  model, params, variables = linear()
  batch = jnp.asarray(DATA.images), jnp.asarray(DATA.labels)
  for key in ("colour", "mixup"):
    config = debug(**{"augmentation.colour": 0.0, "augmentation.mixup": 0.0,
                      f"augmentation.{key}": 0.3})  # fmt: skip
    loss_fn = experiment.make_loss(config, model, 3)
    values = {float(loss_fn(params, variables, batch, jax.random.key(k))[0]) for k in (0, 1, 0)}
    assert len(values) == 2


@pytest.mark.parametrize("kind", evaluation.VIEWS)
@pytest.mark.parametrize("count", [1, 7, 24])
def test_views_are_averaged_and_padding_does_not_matter(kind, count, monkeypatch):
  monkeypatch.setattr(evaluation, "_ROWS", 7)
  model, params, variables = linear()
  classify = evaluation.make_classify(model, jnp.float32, kind, sharding.make_mesh())
  found = classify(params, variables, DATA.images[:count])
  x = normalized(variables, DATA.images[:count])
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
      expected = expected + weight / len(sides) * np.einsum("nhwc,hwck->nk", side, params)
  np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("split, count", [("train", 384), ("validation", 96), ("test", 96)])
def test_splits_have_their_sizes_and_share_no_image(split, count):
  data = experiment.load_data(debug(), split)
  assert len(data) == count
  for other in {"train", "validation", "test"} - {split}:
    theirs = {image.tobytes() for image in experiment.load_data(debug(), other).images}
    assert theirs.isdisjoint(image.tobytes() for image in data.images)


def test_an_unknown_split_is_refused():
  with pytest.raises(UserError, match="'dev' is not one of train, validation, test"):
    experiment.load_data(debug(), "dev")


@pytest.mark.parametrize("preset", ["speedrun94", "speedrun96"])
def test_a_speedrun_trains_a_few_steps_in_bfloat16(preset, tmp_path):
  """The preset's recipe on narrower layers and fewer images."""
  config = configs.get_config(preset)
  config.data.update({"source": "shapes", "validation": 96, "batch_size": 64})
  config.model.width = 0.0625
  config.optimizer.warmup_steps = 1
  config.training.update(
      {"total_steps": 4, "steps_per_call": 2, "eval_every": 4, "save_every": 4}
  )
  assert config.model.dtype == "bfloat16"
  experiment.train(config, tmp_path / "run")
  lines = metric_log.read(tmp_path / "run" / "metrics.jsonl")
  assert [line["step"] for line in lines] == [2, 4, 4]
  assert all(np.isfinite(value) for line in lines for value in line.values())
  params = runs.load(tmp_path / "run").params
  assert all(p.dtype == np.float32 for p in jax.tree.leaves(params))
