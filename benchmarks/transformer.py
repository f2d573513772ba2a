"""A transformer encoder in dlx, Flax Linen and PyTorch, on the same machine.

  python -m benchmarks.transformer --output=transformer.json

Six blocks of width 384 with 12 heads, 1,536 hidden feed-forward features, gelu, the norm
after the sum and no dropout (MiniLM's shape), on 32 sequences of 128 vectors. The loss is the
mean squared error to given vectors. Two things are measured in float32: the loss alone
(PyTorch in inference mode, which enables its fast path), and loss, gradients and an update by
Adam. The rows start from the same weights, and the program first checks that the three
libraries compute the same loss from them.

The method is that of benchmarks.recurrent. The share of peak counts the products of the
blocks, 2 B T (4 D^2 + 2 D F + 2 T D) FLOPs per block, three times that in training.
"""

from typing import NamedTuple

from absl import app
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks import timing
from benchmarks.steps import MEASUREMENTS, jax_call, torch_call
from dlx.models import transformer

try:
  import torch
except ImportError:
  torch = None

COLUMNS = {"ms_per_step": ",.0f", "tokens_per_second": ",.0f", "share_of_peak": ".0%"}
COLUMNS |= {"compile_seconds": ".1f", "dlx_divided_by_this": ".2f"}


class Size(NamedTuple):
  """The sizes of a batch (B, T) and of the blocks, and the steps of one call."""

  batch: int = 32
  length: int = 128
  d_model: int = 384
  num_heads: int = 12
  d_ff: int = 1536
  num_layers: int = 6
  steps: int = 2

  def flops(self, measurement: str) -> int:
    """FLOPs of one step."""
    products = 4 * self.d_model**2 + 2 * self.d_model * self.d_ff + 2 * self.length * self.d_model
    forward = 2 * self.batch * self.length * self.num_layers * products
    return forward * {"forward": 1, "training": 3}[measurement]

  def block(self) -> transformer.Block:
    """dlx's block."""
    return transformer.Block(self.num_heads, self.d_ff, norm_first=False)


def make_params(size: Size) -> list[dict]:
  """dlx's params of each block."""
  x = jnp.zeros((1, 1, size.d_model))
  init = jax.jit(size.block().init)
  rngs = jax.random.split(jax.random.key(0), size.num_layers)
  return [init(rng, x)["params"] for rng in rngs]


def make_batches(size: Size) -> np.ndarray:
  """Vectors and targets, (steps, 2, B, T, D)."""
  shape = (size.steps, 2, size.batch, size.length, size.d_model)
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def dlx_loss(size: Size):
  """`loss(params, batch)` with dlx's blocks."""

  def loss(params, batch):
    x, target = batch
    for block in params:
      x = size.block().apply({"params": block}, x)
    return jnp.square(x - target).mean()

  return loss


class FlaxBlock(nn.Module):
  """The same block with Flax Linen's layers."""

  size: Size

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    """Maps x (B, T, D) to the same shape."""
    size = self.size
    y = nn.MultiHeadDotProductAttention(size.num_heads, name="attention")(x)
    x = nn.LayerNorm(1e-5, name="attention_norm")(x + y)
    y = nn.gelu(nn.Dense(size.d_ff, name="feed_forward_in")(x), approximate=False)
    y = nn.Dense(size.d_model, name="feed_forward_out")(y)
    return nn.LayerNorm(1e-5, name="feed_forward_norm")(x + y)


def flax_params(size: Size, params: list[dict]) -> list[dict]:
  """dlx's params in Flax's shapes, which have a separate axis for the heads."""
  heads = (size.num_heads, size.d_model // size.num_heads)

  def block(params):
    inner = {}
    for name, layer in params["attention"].items():
      out = name == "out"
      kernel = layer["kernel"].reshape((*heads, -1) if out else (-1, *heads))
      inner[name] = {"kernel": kernel, "bias": layer["bias"].reshape(-1 if out else heads)}
    return {**params, "attention": inner}

  return [block(p) for p in params]


def flax_loss(size: Size):
  """`loss(params, batch)` with Flax's blocks."""

  def loss(params, batch):
    x, target = batch
    for block in params:
      x = FlaxBlock(size).apply({"params": block}, x)
    return jnp.square(x - target).mean()

  return loss


def torch_model(size: Size, params: list[dict]):
  """torch.nn.TransformerEncoder with dlx's parameters."""
  layer = torch.nn.TransformerEncoderLayer(
      size.d_model, size.num_heads, size.d_ff, 0.0, "gelu", batch_first=True
  )
  model = torch.nn.TransformerEncoder(layer, size.num_layers)
  with torch.no_grad():
    for layer, block in zip(model.layers, params):
      for name, value in _torch_values(block).items():
        layer.get_parameter(name).copy_(torch.tensor(np.array(value)))
  return model


def _torch_values(block: dict) -> dict:
  """A block's params under the names of TransformerEncoderLayer."""
  attention = block["attention"]
  parts = [attention[name] for name in ("query", "key", "value")]
  values = {
      "self_attn.in_proj_weight": np.concatenate([p["kernel"].T for p in parts]),
      "self_attn.in_proj_bias": np.concatenate([p["bias"] for p in parts]),
  }
  layers = {
      "self_attn.out_proj": attention["out"], "linear1": block["feed_forward_in"],
      "linear2": block["feed_forward_out"],
  }  # fmt: skip
  for name, layer in layers.items():
    values |= {f"{name}.weight": layer["kernel"].T, f"{name}.bias": layer["bias"]}
  for name, ours in (("norm1", "attention_norm"), ("norm2", "feed_forward_norm")):
    values |= {f"{name}.weight": block[ours]["scale"], f"{name}.bias": block[ours]["bias"]}
  return values


def torch_loss(model, batch):
  """The loss of PyTorch's model."""
  x, target = batch
  return (model(x) - target).square().mean()


def check_equal(size: Size, params: list[dict]) -> dict[str, float]:
  """The loss of each library on one batch; RuntimeError unless they agree to 1e-4."""
  batch = make_batches(size)[0]
  values = {"dlx": float(jax.jit(dlx_loss(size))(params, batch))}
  values["Flax"] = float(jax.jit(flax_loss(size))(flax_params(size, params), batch))
  if torch is not None:
    with torch.inference_mode():
      model = torch_model(size, params).eval()
      values["PyTorch"] = torch_loss(model, torch.tensor(batch)).item()
  if not max(values.values()) - min(values.values()) <= 1e-4:
    raise RuntimeError(f"the losses of the same weights differ: {values}")
  return values


def measure(size: Size, params: list[dict], measurement: str, rounds: int, peak: float):
  """The rows of one table."""
  batches = make_batches(size)
  calls = {
      "dlx": jax_call(dlx_loss(size), params, batches, measurement),
      "Flax": jax_call(flax_loss(size), flax_params(size, params), batches, measurement),
  }
  if torch is not None:
    model = torch_model(size, params).train(measurement == "training")
    calls["PyTorch"] = torch_call(
        model.parameters(), lambda batch: torch_loss(model, batch),
        torch.tensor(batches), measurement,
    )  # fmt: skip
  return timing.rows(
      calls, rounds, steps=size.steps, flops=size.flops(measurement), peak=peak,
      items={"tokens": size.batch * size.length}, measurement=measurement,
  )  # fmt: skip


def _run(rounds: int, peak: float) -> dict:
  """The losses, and the rows."""
  size = Size()
  params = make_params(size)
  result = {"losses": check_equal(size, params), "rows": []}
  for measurement in MEASUREMENTS:
    result["rows"] += measure(size, params, measurement, rounds, peak)
  return result


def _show(console: Console, result: dict) -> None:
  console.print(f"same loss, {', '.join(f'{k} {v:.6f}' for k, v in result['losses'].items())}")
  for measurement in MEASUREMENTS:
    rows = [row for row in result["rows"] if row["measurement"] == measurement]
    console.print(timing.table(measurement, rows, COLUMNS))


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  timing.program(argv, torch, _run, _show)


if __name__ == "__main__":
  app.run(main)
