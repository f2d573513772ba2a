"""The residual networks of benchmarks.resnet in plain Flax Linen, with dlx's names."""

from flax import linen as nn
import jax
import jax.numpy as jnp


def _conv(name: str, channels: int, size: int, strides: int = 1) -> nn.Conv:
  low = (size - 1) // 2
  return nn.Conv(channels, (size, size), strides, ((low, low),) * 2, use_bias=False, name=name)


def _norm(name: str) -> nn.BatchNorm:
  return nn.BatchNorm(use_running_average=False, name=name)


class Block(nn.Module):
  """relu(x + norm(conv(relu(norm(conv(x)))))), with a projection where shapes change."""

  channels: int
  strides: int

  @nn.compact
  def __call__(self, x):
    """Maps (B, H, W, C) to (B, U, V, D)."""
    y = nn.relu(_norm("norm0")(_conv("conv0", self.channels, 3, self.strides)(x)))
    y = _norm("norm1")(_conv("conv1", self.channels, 3)(y))
    if self.strides != 1 or x.shape[-1] != self.channels:
      x = _norm("projection_norm")(_conv("projection", self.channels, 1, self.strides)(x))
    return nn.relu(x + y)


class ResNet(nn.Module):
  """A ResNet of basic blocks with the CIFAR stem."""

  num_classes: int
  depths: tuple[int, ...]
  channels: tuple[int, ...]

  @nn.compact
  def __call__(self, x):
    """Maps (B, 32, 32, 3) to logits (B, K)."""
    x = nn.relu(_norm("stem_norm")(_conv("stem", self.channels[0], 3)(x)))
    for stage, (depth, channels) in enumerate(zip(self.depths, self.channels)):
      for i in range(depth):
        strides = 2 if i == 0 and stage > 0 else 1
        x = Block(channels, strides, name=f"block{stage}_{i}")(x)
    return nn.Dense(self.num_classes, name="head")(x.mean((1, 2)))


class FastResNet(nn.Module):
  """Whitening, then stages of conv, max-pool, norm, gelu, and one residual convolution."""

  num_classes: int
  widths: tuple[int, ...]

  @nn.compact
  def __call__(self, x):
    """Maps (B, 32, 32, 3) to logits (B, K)."""
    kernel = self.variable("whitening", "kernel", jnp.zeros, (2, 2, 3, 24)).value
    bias = self.param("whitening_bias", nn.initializers.zeros, (24,))
    dimensions = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=dimensions)
    x = nn.gelu(x + bias)
    for stage, channels in enumerate(self.widths):
      x = nn.max_pool(_conv(f"conv{stage}", channels, 3)(x), (2, 2), (2, 2))
      x = nn.gelu(_norm(f"norm{stage}")(x))
      x = nn.gelu(x + _norm(f"norm{stage}_0")(_conv(f"conv{stage}_0", channels, 3)(x)))
    return nn.Dense(self.num_classes, name="head")(x.max((1, 2))) / 9
