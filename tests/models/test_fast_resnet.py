"""The fast residual network: whitening, sizes, trained parameters, dtypes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dlx.data import images as image_data
from dlx.layers import conv
from dlx.models import fast_resnet


def normalized(count=64, size=16):
  images = image_data.shapes(count, size=size).images
  return ((images / 255.0 - 0.5) / 0.25).astype(np.float32)


def test_whitening_decorrelates_patches_and_equalizes_variance():
  x = normalized()
  kernel = fast_resnet.whitening(x, eps=0.0)
  assert kernel.shape == (2, 2, 3, 24)
  y = np.asarray(conv.apply({"kernel": jnp.asarray(kernel)}, x, padding="VALID"), np.float64)
  y = y.reshape(-1, 24)
  np.testing.assert_allclose(y[:, :12].T @ y[:, :12] / len(y), np.eye(12), atol=1e-3)
  np.testing.assert_array_equal(y[:, 12:], -y[:, :12])


def test_eps_bounds_the_gain_of_directions_without_variance():
  grey = np.repeat(normalized()[..., :1], 3, -1)  # Eight of twelve directions have no variance.
  kernel = fast_resnet.whitening(grey, eps=1e-2)
  assert np.linalg.norm(kernel.reshape(12, 24), axis=0).max() <= 10.0 + 1e-3


@pytest.mark.parametrize("depth, count", [
    # Whitening bias, convolutions, scale and bias of norms, head.
    (1, 24 + 9 * (24 * 64 + 64**2 + 64 * 256 + 3 * 256**2) + 2 * 2 * 576 + 256 * 10 + 10),
    (2, 24 + 9 * (24 * 64 + 2 * 64**2 + 64 * 256 + 5 * 256**2) + 3 * 2 * 576 + 256 * 10 + 10),
])  # fmt: skip
def test_the_number_of_parameters_is_that_counted_by_hand(depth, count):
  model = fast_resnet.FastResNet(10, depth=depth)
  shapes = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)))
  assert sum(p.size for p in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.full
def test_every_parameter_has_a_gradient_and_the_whitening_has_none():
  model, x = fast_resnet.FastResNet(3, widths=(4, 8, 8)), jnp.asarray(normalized(8, 32))
  variables = jax.jit(model.init)(jax.random.key(0), x)
  variables["whitening"] = {"kernel": jnp.asarray(fast_resnet.whitening(np.asarray(x)))}

  def loss(variables):
    logits, _ = model.apply(variables, x, train=True, mutable="batch_stats")
    return (logits * jnp.arange(24.0).reshape(8, 3)).sum()

  grads = jax.jit(jax.grad(loss))(variables)
  assert not grads["whitening"]["kernel"].any()
  for path, grad in jax.tree.leaves_with_path(grads["params"]):
    assert grad.any(), jax.tree_util.keystr(path)


@pytest.mark.full
def test_bfloat16_logits_are_close_and_float32():
  model, x = fast_resnet.FastResNet(3, widths=(4, 8, 8)), jnp.asarray(normalized(8, 32))
  variables = jax.jit(model.init)(jax.random.key(0), x)
  variables["whitening"] = {"kernel": jnp.asarray(fast_resnet.whitening(np.asarray(x)))}
  apply = jax.jit(functools.partial(model.apply, variables, train=True, mutable="batch_stats"))
  full, half = apply(x)[0], apply(x.astype(jnp.bfloat16))[0]
  assert half.dtype == jnp.float32
  np.testing.assert_allclose(half, full, atol=0.06 * np.abs(full).max())
