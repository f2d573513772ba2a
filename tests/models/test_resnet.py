"""Residual networks: published sizes, shapes, the block by hand, statistics, dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.models import resnet

each_block = pytest.mark.parametrize(
    "options",
    [{}, {"bottleneck": True}, {"pre_activation": True}],
    ids=["basic", "bottleneck", "pre-activation"],
)


def images(*shape, seed=0):
  return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def small(**options):
  """Two stages of a block each, 4 and 8 channels."""
  return resnet.ResNet(3, depths=(1, 1), channels=(4, 8), stem_channels=4, **options)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("name, size, stem, published", [
    # He et al. (2016), table 6; each projection adds a little to their padded shortcuts.
    ("resnet20", 32, "cifar", 0.27e6), ("resnet32", 32, "cifar", 0.46e6),
    ("resnet44", 32, "cifar", 0.66e6), ("resnet56", 32, "cifar", 0.85e6),
    ("resnet110", 32, "cifar", 1.7e6),
    # torchvision's counts with 1,000 classes.
    ("resnet18", 224, "imagenet", 11_689_512), ("resnet34", 224, "imagenet", 21_797_672),
    ("resnet50", 224, "imagenet", 25_557_032),
    ("resnet18", 32, "cifar", 11.17e6), ("wrn28_10", 32, "cifar", 36.5e6),
])  # fmt: skip
def test_the_number_of_parameters_is_the_published_one(name, size, stem, published):
  classes = 1000 if stem == "imagenet" else 10
  model = getattr(resnet, name)(classes, stem=stem)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))
  count = sum(p.size for p in jax.tree.leaves(shapes["params"]))
  exact = isinstance(published, int)
  assert count == published if exact else abs(count / published - 1) < 0.02, count


@pytest.mark.parametrize("stem, size", [("cifar", 4), ("imagenet", 1)])
def test_every_stage_after_the_first_halves_the_image(stem, size):
  """The cifar stem keeps 8x8, imagenet's gives 2x2; the second stage halves once."""
  model, seen = small(stem=stem), []
  x = images(2, 8, 8, 3)

  def note(next_fun, args, kwargs, context):
    y = next_fun(*args, **kwargs)
    if isinstance(context.module, resnet.Block) and context.method_name == "__call__":
      seen.append(y.shape)
    return y

  with resnet.nn.intercept_methods(note):
    logits, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
  assert seen[-1] == (2, size, size, 8) and logits.shape == (2, 3)


def test_an_unknown_stem_is_refused():
  with pytest.raises(ValueError, match="stem: expected 'cifar' or 'imagenet', got 'tiny'"):
    small(stem="tiny").init(jax.random.key(0), images(1, 8, 8, 3))


@each_block
def test_a_block_with_a_zero_last_layer_is_the_identity(options):
  block = resnet.Block(8, **options)
  x = jnp.abs(images(2, 4, 4, 8))  # The last relu keeps it.
  variables = jax.jit(functools.partial(block.init, train=False))(jax.random.key(0), x)
  last = "conv1" if not options.get("bottleneck") else "conv2"
  params = {**variables["params"]}
  params[last] = jax.tree.map(jnp.zeros_like, params[last])
  y = jax.jit(functools.partial(block.apply, train=False))({**variables, "params": params}, x)
  np.testing.assert_array_equal(y, x)
  assert "projection" not in params


@pytest.mark.sampled(1)
@each_block
def test_images_are_independent_in_evaluation_but_not_in_training(options):
  model, x = small(**options), images(4, 8, 8, 3)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  train = jax.jit(functools.partial(model.apply, train=True, mutable="batch_stats"))
  # Statistics of a real batch, not zeros and ones.
  _, new = train(variables, 3 * x + 1)
  variables = {**variables, **new}
  other = x.at[2:].set(-x[2:])
  apply = jax.jit(model.apply)
  np.testing.assert_allclose(apply(variables, x)[:2], apply(variables, other)[:2], atol=1e-5)
  assert np.abs(train(variables, x)[0][:2] - train(variables, other)[0][:2]).max() > 1e-2


def test_statistics_move_towards_the_batch_in_training_only():
  model, x = small(), images(16, 8, 8, 3)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  start = variables["batch_stats"]
  np.testing.assert_array_equal(start["stem_norm"]["mean"], 0)
  np.testing.assert_array_equal(start["stem_norm"]["var"], 1)
  apply = functools.partial(model.apply, mutable="batch_stats")
  _, new = jax.jit(functools.partial(apply, train=True))(variables, x)
  y = resnet.conv.apply(variables["params"]["stem"], x)
  expected = 0.1 * np.asarray(y).mean((0, 1, 2))
  np.testing.assert_allclose(new["batch_stats"]["stem_norm"]["mean"], expected, atol=1e-6)
  _, same = jax.jit(apply)(variables, x)
  jax.tree.map(np.testing.assert_array_equal, same["batch_stats"], start)


@pytest.mark.sampled(1)
@each_block
def test_bfloat16_images_are_computed_in_bfloat16_with_float32_parameters(options):
  model, x = small(**options), images(4, 8, 8, 3)
  variables = jax.jit(model.init)(jax.random.key(0), x)
  train = jax.jit(functools.partial(model.apply, train=True, mutable="batch_stats"))
  (half, new), (full, _) = (train(variables, v) for v in (x.astype(jnp.bfloat16), x))
  assert half.dtype == jnp.float32
  assert all(p.dtype == jnp.float32 for p in jax.tree.leaves((variables, new)))
  np.testing.assert_allclose(half, full, atol=0.05 * np.abs(full).max())
  text = str(jax.make_jaxpr(lambda x: model.apply(variables, x))(x.astype(jnp.bfloat16)))
  outputs = [line for line in text.splitlines() if "conv_general_dilated" in line]
  assert outputs and all("bf16[" in line.split("=")[0] for line in outputs)


def test_width_is_a_factor_on_all_channels():
  shapes = {
      width: jax.eval_shape(small(width=width).init, jax.random.key(0), images(1, 8, 8, 3))
      for width in (1.0, 2.0)
  }
  one, two = (shapes[width]["params"]["block1_0"]["conv1"]["kernel"].shape for width in (1.0, 2.0))
  assert one == (3, 3, 8, 8) and two == (3, 3, 16, 16)
  assert shapes[2.0]["params"]["stem"]["kernel"].shape[-1] == 8
  assert [resnet.scaled(c, 0.125) for c in (64, 256, 16)] == [8, 32, 4]
