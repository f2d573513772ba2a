"""Augmentation: each change against numpy, its bounds, and its dependence on the key."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import augmentation

KEY = jax.random.key(0)
eager_and_jit = pytest.mark.parametrize("compile_", [lambda f: f, jax.jit], ids=["eager", "jit"])


def pixels(count=64, size=8, seed=0):
  rng = np.random.default_rng(seed)
  return jnp.asarray(rng.integers(0, 256, (count, size, size, 3)), jnp.uint8)


@eager_and_jit
def test_a_random_crop_is_a_crop_of_the_reflected_image(compile_):
  images, padding = pixels(), 2
  cropped = np.asarray(compile_(lambda k, x: augmentation.random_crop(k, x, padding))(KEY, images))
  assert cropped.dtype == np.uint8
  seen = set()
  padded = np.pad(images, [(0, 0), (padding, padding), (padding, padding), (0, 0)], mode="reflect")
  for image, source in zip(cropped, padded):
    found = [
        (i, j)
        for i in range(2 * padding + 1)
        for j in range(2 * padding + 1)
        if np.array_equal(image, source[i : i + 8, j : j + 8])
    ]
    assert len(found) == 1
    seen.update(found)
  assert len(seen) > 15, "64 draws of 25 shifts"


def test_shifts_are_uniform():
  rows = jnp.broadcast_to(jnp.arange(8, dtype=jnp.uint8)[None, :, None, None], (5000, 8, 8, 1))
  centre = np.asarray(augmentation.random_crop(KEY, rows, 2))[:, 4, 4, 0]
  counts = np.bincount(centre, minlength=8)[2:7]
  assert counts.sum() == 5000 and abs(counts - 1000).max() < 5 * 29  # sqrt(5000 .2 .8) = 28.3


def test_flip_mirrors_the_columns_of_the_given_images():
  images = pixels(4)
  flipped = np.asarray(augmentation.flip(images, jnp.array([True, False, True, False])))
  for i in (0, 2):
    np.testing.assert_array_equal(flipped[i], np.fliplr(images[i]))
  for i in (1, 3):
    np.testing.assert_array_equal(flipped[i], images[i])
  fraction = augmentation.random_flips(KEY, 4000).mean()
  assert abs(fraction - 0.5) < 0.04


@eager_and_jit
def test_alternating_flips_invert_each_epoch_and_follow_the_image(compile_):
  flips = compile_(augmentation.alternating_flips)
  indices = jnp.arange(2000)
  first = np.asarray(flips(KEY, indices, jnp.int32(0)))
  np.testing.assert_array_equal(flips(KEY, indices, jnp.int32(1)), ~first)
  np.testing.assert_array_equal(flips(KEY, indices, jnp.int32(2)), first)
  order = np.random.default_rng(0).permutation(2000)
  np.testing.assert_array_equal(flips(KEY, jnp.asarray(order), jnp.int32(0)), first[order])
  assert abs(first.mean() - 0.5) < 0.06


@pytest.mark.parametrize("size", [3, 4])
def test_cutout_sets_one_square_anywhere_to_the_mean(size):
  images = jnp.tile(jnp.array([0, 100, 201], jnp.uint8), (500, 8, 8, 1))
  images = images.at[:, 0, 0].set(255)  # So that the mean differs from all values.
  cut = np.asarray(augmentation.cutout(KEY, images, size))
  mean = np.round(np.asarray(images).mean((0, 1, 2)))
  changed = (cut != np.asarray(images)).any(-1)
  np.testing.assert_array_equal(cut[changed], np.broadcast_to(mean, cut[changed].shape))
  sides = []
  for mask in changed:
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    assert mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all(), "a rectangle"
    sides.append((len(rows), len(columns)))
  assert max(sides) == (size, size) and min(min(s) for s in sides) < size, "cut at borders"
  assert changed.any(0).all(), "every pixel is reached"


def test_zero_strength_changes_nothing():
  images = pixels()
  targets = jnp.eye(64)
  np.testing.assert_array_equal(augmentation.random_crop(KEY, images, 0), images)
  np.testing.assert_array_equal(augmentation.cutout(KEY, images, 0), images)
  for x, y in zip(augmentation.mixup(KEY, images, targets, 0.0), (images, targets)):
    np.testing.assert_array_equal(x, y)
  np.testing.assert_array_equal(augmentation.color_jitter(KEY, images / 255, 0.0), images / 255)


def test_mixup_weights_images_and_targets_equally(x64):
  targets = jnp.eye(6)
  images = jnp.broadcast_to(targets[:, None, None, :], (6, 2, 2, 6))
  mixed, mixed_targets = augmentation.mixup(KEY, images, targets, 1.0)
  np.testing.assert_allclose(mixed, np.broadcast_to(mixed_targets[:, None, None], mixed.shape))
  np.testing.assert_allclose(mixed_targets.sum(1), 1, atol=1e-12)
  w = np.diag(mixed_targets)
  np.testing.assert_allclose(np.diag(mixed_targets[:, ::-1]), 1 - w, atol=1e-12)
  assert len(np.unique(w)) == 6 and np.all((w > 0) & (w < 1))


def test_color_jitter_changes_brightness_contrast_and_saturation_within_bounds(x64):
  images = jnp.asarray(np.random.default_rng(0).uniform(0.4, 0.6, (50, 4, 4, 3)))
  changed = np.asarray(augmentation.color_jitter(KEY, images, 0.2))
  ratio = changed.mean((1, 2, 3)) / np.asarray(images).mean((1, 2, 3))
  # Contrast and saturation preserve the mean, so that the ratio is the brightness factor.
  assert 0.8 <= ratio.min() < 0.87 and 1.13 < ratio.max() <= 1.2
  spread = changed.mean(-1).std((1, 2)) / np.asarray(images).mean(-1).std((1, 2)) / ratio
  assert 0.8 - 1e-9 <= spread.min() < 0.87 and 1.13 < spread.max() <= 1.2 + 1e-9
  extreme = np.asarray(augmentation.color_jitter(KEY, images * 2 - 0.5, 0.9))
  assert extreme.min() >= 0 and extreme.max() <= 1


@pytest.mark.parametrize("change", [
    lambda k, x: augmentation.random_crop(k, x, 2), lambda k, x: augmentation.cutout(k, x, 3),
    lambda k, x: augmentation.color_jitter(k, x / 255, 0.3),
])  # fmt: skip
def test_the_result_depends_on_the_key_only(change):
  images = pixels()
  one = np.asarray(change(KEY, images))
  np.testing.assert_array_equal(change(jax.random.key(0), images), one)
  assert (np.asarray(change(jax.random.key(1), images)) != one).any()


def test_masking_zeroes_the_given_fraction_and_gaussian_noise_has_the_given_deviation():
  x = jnp.ones((400, 100))
  masked = augmentation.corrupt(jax.random.key(0), x, "masking", 0.3)
  assert set(np.unique(masked)) == {0.0, 1.0}
  np.testing.assert_allclose(masked.mean(), 0.7, atol=0.01)
  noise = augmentation.corrupt(jax.random.key(0), x, "gaussian", 0.3) - x
  np.testing.assert_allclose([noise.mean(), noise.std()], [0, 0.3], atol=0.01)
