"""A small residual network for 32 x 32 images that trains quickly.

  layer                               channels    size
  whitening, 2x2, not trained         24          31
  for each of the three widths:
    conv 3x3, max-pool 2x2, norm      w           15, 7, 3
    gelu(x + norm(conv 3x3))          w
  max-pool 3x3, linear, times 1/9     classes     1

It is fast because the first layer is fixed and maps patches to decorrelated features of
equal variance; pooling follows the first convolution of a stage directly, so that most
products are of small images; few, wide layers use a matrix unit well; and the small factor
before the softmax keeps the initial logits close to zero.

Source: after Page, "How to train your ResNet" (2018), and Jordan, "94% on CIFAR-10 in 3.29
  seconds on a single GPU" (2024), whose stages have no skip connection.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from dlx.layers import activations, conv, linear, pooling
from dlx.models.resnet import batch_norm, convolution, scaled

MOMENTUM = 0.6  # Of the running statistics: a run has only a few hundred steps.


class FastResNet(nn.Module):
  """The network of the module's docstring.

  Attributes:
    num_classes: K.
    widths: number of channels of each stage.
    depth: number of convolutions with a skip connection in each stage.
    width: factor on all widths.
  """

  num_classes: int
  widths: tuple[int, ...] = (64, 256, 256)
  depth: int = 1
  width: float = 1.0

  @property
  def last_stage(self) -> tuple[str, ...]:
    """Name prefixes of the parameters of the last stage and of the head."""
    return f"conv{len(self.widths) - 1}", f"norm{len(self.widths) - 1}", "head"

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"], *, train: bool = False) -> Float[Array, "B K"]:
    """Maps images to float32 logits, computing in the images' dtype.

    The first layer's kernel is the variable "kernel" of the collection "whitening", set to
    the result of `whitening`; its bias is learned.

    Args:
      x: normalized images.
      train: use the batch's statistics in batch norm, and update "batch_stats".
    """
    patch = 4 * x.shape[-1]
    kernel = self.variable("whitening", "kernel", jnp.zeros, (2, 2, x.shape[-1], 2 * patch))
    bias = self.param("whitening_bias", nn.initializers.zeros, (2 * patch,))
    kernel = jax.lax.stop_gradient(kernel.value)
    first = {"kernel": kernel.astype(x.dtype), "bias": bias.astype(x.dtype)}
    x = activations.gelu(conv.apply(first, x, padding="VALID"))
    for stage, channels in enumerate(scaled(w, self.width) for w in self.widths):
      x = convolution(self, f"conv{stage}", x, channels, 3)
      x = pooling.max_pool(x, 2)
      x = activations.gelu(batch_norm(self, f"norm{stage}", x, train, MOMENTUM))
      for i in range(self.depth):
        y = convolution(self, f"conv{stage}_{i}", x, channels, 3)
        x = activations.gelu(x + batch_norm(self, f"norm{stage}_{i}", y, train, MOMENTUM))
    x = x.max((-3, -2)).astype(jnp.promote_types(x.dtype, jnp.float32))
    return linear.apply(self.param("head", linear.init, x.shape[-1], self.num_classes), x) / 9


# About four times the FLOPs.
wide_fast_resnet = functools.partial(FastResNet, widths=(128, 384, 512), depth=2)


def whitening(images: Float[np.ndarray, "N H W C"], eps: float = 5e-4) -> np.ndarray:
  """The kernel (2, 2, C, 8 C) that decorrelates 2 x 2 patches, and its negative.

  With the patches' second moments S = E[p p^T] = V diag(l) V^T over all positions, column k
  of V / sqrt(l + eps) maps patches to uncorrelated outputs of variance l_k / (l_k + eps).
  The negative is included because the nonlinearity that follows discards half of each.

  Args:
    images: a few thousand normalized training images.
    eps: bounds the gain of directions with little variance.
  """
  channels = images.shape[-1]
  patches = np.lib.stride_tricks.sliding_window_view(images, (2, 2), (1, 2))
  patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4 * channels).astype(np.float64)
  values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
  kernel = (vectors / np.sqrt(values + eps)).reshape(2, 2, channels, -1)
  return np.concatenate([kernel, -kernel], -1).astype(np.float32)
