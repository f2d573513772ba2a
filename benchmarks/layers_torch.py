"""The layers of benchmarks.gradients in PyTorch, with dlx's parameters.

Each function takes (inputs, d_out) as numpy arrays and returns a call that computes
(output, cotangents of the inputs), in dlx's layouts and names.
"""

from collections.abc import Callable

import numpy as np

try:
  import torch
except ImportError:
  torch = None


def _backward(out, d_out, leaves):
  for leaf in leaves:
    leaf.grad = None
  out.backward(d_out)
  return [leaf.grad for leaf in leaves]


def _image(a):
  """(N, H, W, C) -> (N, C, H, W), without a copy: the memory format is channels_last."""
  return torch.tensor(a).permute(0, 3, 1, 2)


def convolution(inputs: tuple, d_out: np.ndarray, *, strides: int) -> Callable:
  """Conv2d with SAME padding."""
  params, x = inputs
  window = params["kernel"].shape[0]
  kernel = torch.tensor(params["kernel"]).permute(3, 2, 0, 1)
  kernel = kernel.contiguous(memory_format=torch.channels_last).requires_grad_()
  bias = torch.tensor(params["bias"]).requires_grad_()
  x, d_out = _image(x).requires_grad_(), _image(d_out)
  # SAME padding pads less before than after an even size with strides 2.
  total = max((d_out.shape[-1] - 1) * strides + window - x.shape[-1], 0)
  low, high = total // 2, total - total // 2

  def call():
    padded = x if low == high else torch.nn.functional.pad(x, (low, high, low, high))
    padding = low if low == high else 0
    out = torch.nn.functional.conv2d(padded, kernel, bias, strides, padding)
    d_bias, d_kernel, d_x = _backward(out, d_out, (bias, kernel, x))
    d_params = {"bias": d_bias, "kernel": d_kernel.permute(2, 3, 1, 0)}
    return out.detach().permute(0, 2, 3, 1), (d_params, d_x.permute(0, 2, 3, 1))

  return call


def max_pooling(inputs: tuple, d_out: np.ndarray, *, window: int) -> Callable:
  """max_pool2d with strides of the window's size."""
  (x,), d_out = inputs, _image(d_out)
  x = _image(x).requires_grad_()

  def call():
    out = torch.nn.functional.max_pool2d(x, window)
    (d_x,) = _backward(out, d_out, (x,))
    return out.detach().permute(0, 2, 3, 1), (d_x.permute(0, 2, 3, 1),)

  return call


def recurrent(inputs: tuple, d_out: np.ndarray, *, gates: int) -> Callable:
  """GRU (3 gates) or LSTM (4); PyTorch's second bias of the LSTM stays zero."""
  params, xs = inputs
  d, hidden = params["input"].shape[0], params["hidden"].shape[0]
  layer = (torch.nn.GRU if gates == 3 else torch.nn.LSTM)(d, hidden, batch_first=True)
  hidden_bias = params.get("hidden_bias", np.zeros_like(params["bias"]))
  values = (params["input"].T, params["hidden"].T, params["bias"], hidden_bias)
  with torch.no_grad():
    for parameter, value in zip(layer.parameters(), values, strict=True):
      parameter.copy_(torch.tensor(np.array(value)))
  xs, d_out = torch.tensor(xs).requires_grad_(), torch.tensor(d_out)
  names = ("input", "hidden", "bias", "hidden_bias")

  def call():
    out, _ = layer(xs)
    *grads, d_xs = _backward(out, d_out, (*layer.parameters(), xs))
    d_params = {
        name: grad.T if grad.ndim == 2 else grad
        for name, grad in zip(names, grads)
        if name in params
    }
    return out.detach(), (dict(sorted(d_params.items())), d_xs)

  return call


def attention(
    inputs: tuple, d_out: np.ndarray, *, mask: np.ndarray | None, is_causal: bool
) -> Callable:
  """scaled_dot_product_attention."""
  leaves = [torch.tensor(x).requires_grad_() for x in inputs]
  d_out = torch.tensor(d_out)
  options = {"attn_mask": None if mask is None else torch.tensor(mask), "is_causal": is_causal}

  def call():
    out = torch.nn.functional.scaled_dot_product_attention(*leaves, **options)
    return out.detach(), tuple(_backward(out, d_out, leaves))

  return call
