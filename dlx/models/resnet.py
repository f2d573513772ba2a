"""Residual networks for images: original, pre-activation and wide.

A block computes x + f(x), so that a deep stack starts near the identity and gradients reach
every layer. Where a block changes the size or the number of channels, a 1x1 convolution with
the same strides is applied to x (a projection).

  name                        blocks            channels          parameters (10 classes)
  resnet20, 32, 44, 56, 110   3 x (3, ..., 18)  16, 32, 64        0.27M ... 1.73M
  resnet18, 34                basic, 4 stages   64, ..., 512      11.17M, 21.28M
  resnet50                    bottleneck        256, ..., 2048    23.52M
  wrn28_10                    3 x 4, wide       160, 320, 640     36.5M

Source: He, Zhang, Ren, Sun, "Deep residual learning for image recognition" (2016) and
  "Identity mappings in deep residual networks" (2016); Zagoruyko and Komodakis, "Wide
  residual networks" (2016).
"""

from collections.abc import Callable
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dlx.layers import conv, linear, norm, pooling


def convolution(
    module: nn.Module, name: str, x: Array, channels: int, size: int, strides: int = 1
):
  """A convolution without bias, in the dtype of x, padded equally on both sides.

  The kernel is centred on each pixel, or with strides 2 on each even pixel. ("SAME" padding
  would centre it on the odd ones, which does not match weights trained in PyTorch.)
  """
  params = module.param(name, conv.init, size, x.shape[-1], channels, bias=False)
  params = jax.tree.map(lambda p: p.astype(x.dtype), params)
  return conv.apply(params, x, strides=strides, padding=(((size - 1) // 2,) * 2,) * 2)


def scaled(channels: int, width: float) -> int:
  """width * channels, rounded to a multiple of 4 (for bottlenecks) and at least 4."""
  return max(4, 4 * round(width * channels / 4))


def batch_norm(module: nn.Module, name: str, x: Array, train: bool, momentum: float = 0.9):
  """Batch norm with its statistics in the collection "batch_stats", in the dtype of x."""
  channels = x.shape[-1]
  params = module.param(name, norm.init, channels)
  stats = module.variable("batch_stats", name, norm.init_stats, channels)
  y, new = norm.batch_norm(params, stats.value, x, train=train, momentum=momentum)
  if train and not module.is_initializing():
    stats.value = new
  return y.astype(x.dtype)


class Block(nn.Module):
  """Convolutions with a skip connection.

  Attributes:
    channels: number of output channels.
    strides: of the first 3x3 convolution, and of the projection.
    bottleneck: 1x1 to a quarter of the channels, 3x3, 1x1 back; two 3x3 otherwise.
    pre_activation: apply norm and relu before each convolution; otherwise norm after each
      convolution, and relu after the sum.
  """

  channels: int
  strides: int = 1
  bottleneck: bool = False
  pre_activation: bool = False

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"], train: bool) -> Float[Array, "B U V D"]:
    """x + f(x); `train` as in ResNet."""
    inner = self.channels // 4
    layers = (
        [(inner, 1, 1), (inner, 3, self.strides), (self.channels, 1, 1)]
        if self.bottleneck
        else [(self.channels, 3, self.strides), (self.channels, 3, 1)]
    )
    if self.pre_activation:
      return self._pre_activated(x, train, layers)
    y = x
    for i, (channels, size, strides) in enumerate(layers):
      y = nn.relu(y) if i else y
      y = convolution(self, f"conv{i}", y, channels, size, strides=strides)
      y = batch_norm(self, f"norm{i}", y, train)
    if self._changes(x):
      x = convolution(self, "projection", x, self.channels, 1, strides=self.strides)
      x = batch_norm(self, "projection_norm", x, train)
    return nn.relu(x + y)

  def _pre_activated(self, x, train, layers):
    y = nn.relu(batch_norm(self, "norm0", x, train))
    if self._changes(x):
      x = convolution(self, "projection", y, self.channels, 1, strides=self.strides)
    for i, (channels, size, strides) in enumerate(layers):
      y = nn.relu(batch_norm(self, f"norm{i}", y, train)) if i else y
      y = convolution(self, f"conv{i}", y, channels, size, strides=strides)
    return x + y

  def _changes(self, x):
    return self.strides != 1 or x.shape[-1] != self.channels


class ResNet(nn.Module):
  """A stem, stages of blocks, global average pooling, and a linear layer.

  Attributes:
    num_classes: K.
    depths: number of blocks in each stage. The first block of a stage halves height and
      width, except in the first stage.
    channels: number of channels of each stage.
    stem_channels: number of channels of the first convolution.
    stem: "cifar" is a 3x3 convolution; "imagenet" is 7x7 with stride 2 and a max-pool
      with stride 2, for large images.
    bottleneck, pre_activation: see Block.
    width: factor on all numbers of channels.
  """

  num_classes: int
  depths: tuple[int, ...]
  channels: tuple[int, ...]
  stem_channels: int
  stem: str = "cifar"
  bottleneck: bool = False
  pre_activation: bool = False
  width: float = 1.0

  @property
  def last_stage(self) -> tuple[str, ...]:
    """Name prefixes of the parameters of the last stage and of the head."""
    return f"block{len(self.depths) - 1}_", "head"

  @nn.compact
  def __call__(self, x: Float[Array, "B H W C"], *, train: bool = False) -> Float[Array, "B K"]:
    """Maps images to float32 logits, computing in the images' dtype.

    Args:
      x: normalized images.
      train: use the batch's statistics in batch norm, and update "batch_stats".
    """
    if self.stem not in ("cifar", "imagenet"):
      raise ValueError(f"stem: expected 'cifar' or 'imagenet', got {self.stem!r}")
    size, strides = (3, 1) if self.stem == "cifar" else (7, 2)
    stem_channels = scaled(self.stem_channels, self.width)
    x = convolution(self, "stem", x, stem_channels, size, strides=strides)
    if not self.pre_activation:
      x = nn.relu(batch_norm(self, "stem_norm", x, train))
    if self.stem == "imagenet":
      x = pooling.max_pool(x, 3, strides=2, padding=((1, 1), (1, 1)))
    for stage, (depth, channels) in enumerate(zip(self.depths, self.channels)):
      for i in range(depth):
        strides = 2 if i == 0 and stage > 0 else 1
        block = Block(
            scaled(channels, self.width),
            strides,
            self.bottleneck,
            self.pre_activation,
            name=f"block{stage}_{i}",
        )
        x = block(x, train)
    if self.pre_activation:
      x = nn.relu(batch_norm(self, "head_norm", x, train))
    x = x.mean((-3, -2), dtype=jnp.promote_types(x.dtype, jnp.float32))
    return linear.apply(self.param("head", linear.init, x.shape[-1], self.num_classes), x)


def _of_depth(depth: int) -> Callable[..., ResNet]:
  """He et al.'s CIFAR network of 6 n + 2 layers."""
  return functools.partial(
      ResNet, depths=((depth - 2) // 6,) * 3, channels=(16, 32, 64), stem_channels=16
  )


_WIDE = {"channels": (64, 128, 256, 512), "stem_channels": 64}

# Each takes num_classes, and attributes of ResNet to override, such as stem="imagenet".
resnet20, resnet32, resnet44, resnet56, resnet110 = map(_of_depth, (20, 32, 44, 56, 110))
resnet18 = functools.partial(ResNet, depths=(2, 2, 2, 2), **_WIDE)
resnet34 = functools.partial(ResNet, depths=(3, 4, 6, 3), **_WIDE)
resnet50 = functools.partial(
    ResNet,
    depths=(3, 4, 6, 3),
    channels=(256, 512, 1024, 2048),
    stem_channels=64,
    bottleneck=True,
)
preact_resnet18 = functools.partial(resnet18, pre_activation=True)
wrn28_10 = functools.partial(
    ResNet,
    depths=(4, 4, 4),
    channels=(160, 320, 640),
    stem_channels=16,
    pre_activation=True,
)
