"""The residual networks of benchmarks.resnet in PyTorch, with dlx's names."""

import numpy as np
import torch
from torch import nn
from torch.nn import functional


def _conv(c_in: int, channels: int, size: int, strides: int = 1) -> nn.Conv2d:
  return nn.Conv2d(c_in, channels, size, strides, (size - 1) // 2, bias=False)


class Block(nn.Module):
  """relu(x + norm(conv(relu(norm(conv(x)))))), with a projection where shapes change."""

  def __init__(self, c_in: int, channels: int, strides: int):
    super().__init__()
    self.conv0, self.norm0 = _conv(c_in, channels, 3, strides), nn.BatchNorm2d(channels)
    self.conv1, self.norm1 = _conv(channels, channels, 3), nn.BatchNorm2d(channels)
    self.projection = None
    if strides != 1 or c_in != channels:
      self.projection = _conv(c_in, channels, 1, strides)
      self.projection_norm = nn.BatchNorm2d(channels)

  def forward(self, x):
    """Maps (B, C, H, W) to (B, D, U, V)."""
    y = functional.relu(self.norm0(self.conv0(x)), inplace=True)
    y = self.norm1(self.conv1(y))
    if self.projection is not None:
      x = self.projection_norm(self.projection(x))
    return functional.relu(x + y, inplace=True)


class ResNet(nn.Module):
  """A ResNet of basic blocks with the CIFAR stem."""

  def __init__(self, num_classes: int, depths: tuple[int, ...], channels: tuple[int, ...]):
    super().__init__()
    self.stem, self.stem_norm = _conv(3, channels[0], 3), nn.BatchNorm2d(channels[0])
    self.names, c_in = [], channels[0]
    for stage, (depth, c_out) in enumerate(zip(depths, channels)):
      for i in range(depth):
        self.names.append(f"block{stage}_{i}")
        strides = 2 if i == 0 and stage > 0 else 1
        self.add_module(self.names[-1], Block(c_in, c_out, strides))
        c_in = c_out
    self.head = nn.Linear(c_in, num_classes)

  def forward(self, x):
    """Maps (B, 3, 32, 32) to logits (B, K)."""
    x = functional.relu(self.stem_norm(self.stem(x)), inplace=True)
    for name in self.names:
      x = getattr(self, name)(x)
    return self.head(x.mean((2, 3)))


class FastResNet(nn.Module):
  """Whitening, then stages of conv, max-pool, norm, gelu, and one residual convolution."""

  def __init__(self, num_classes: int, widths: tuple[int, ...]):
    super().__init__()
    self.whitening = nn.Conv2d(3, 24, 2)
    self.whitening.weight.requires_grad_(False)
    self.stages, c_in = len(widths), 24
    for stage, channels in enumerate(widths):
      self.add_module(f"conv{stage}", _conv(c_in, channels, 3))
      self.add_module(f"norm{stage}", nn.BatchNorm2d(channels))
      self.add_module(f"conv{stage}_0", _conv(channels, channels, 3))
      self.add_module(f"norm{stage}_0", nn.BatchNorm2d(channels))
      c_in = channels
    self.head = nn.Linear(c_in, num_classes)

  def forward(self, x):
    """Maps (B, 3, 32, 32) to logits (B, K)."""
    layers = dict(self.named_children())
    x = functional.gelu(self.whitening(x), approximate="tanh")
    for i in range(self.stages):
      x = functional.max_pool2d(layers[f"conv{i}"](x), 2)
      x = functional.gelu(layers[f"norm{i}"](x), approximate="tanh")
      y = layers[f"norm{i}_0"](layers[f"conv{i}_0"](x))
      x = functional.gelu(x + y, approximate="tanh")
    return self.head(x.amax((2, 3))) / 9


def load(model: nn.Module, params: dict, variables: dict) -> nn.Module:
  """The model with dlx's parameters, in the channels_last memory format."""
  params = dict(params)
  if "whitening" in variables:
    kernel, bias = variables["whitening"]["kernel"], params.pop("whitening_bias")
    params["whitening"] = {"kernel": kernel, "bias": bias}

  def fill(module, values):
    for name, value in values.items():
      child = getattr(module, name, None)
      if isinstance(child, nn.Module):
        fill(child, value)
        continue
      array = torch.tensor(np.array(value))
      if name == "kernel":
        array = array.permute(3, 2, 0, 1) if array.ndim == 4 else array.T
      target = module.bias if name == "bias" else module.weight
      target.copy_(array)

  with torch.no_grad():
    fill(model, params)
  return model.to(memory_format=torch.channels_last)
