"""The GRU language model in dlx, Flax Linen and PyTorch, on the same machine.

  python -m benchmarks.recurrent --output=recurrent.json

The model is an embedding (65 x D), one GRU layer (D -> H), a linear layer (H -> 65) and
the mean cross-entropy, trained by Adam in float32. Two things are measured: the loss alone,
and loss, gradients and update. The rows of one size start from the same weights, and the
program first checks that the three libraries compute the same loss from them.

Method, the same for all rows: a row is timed as one call of several steps (in JAX one jitted
lax.scan with a donated state, as in dlx's training; in PyTorch a Python loop). The rows take
turns in rounds, and the result is the minimum over rounds, without compile time. Nothing
else should run on the machine. With N = B T tokens the products of a forward pass need
2 N (3HD + 3HH + 65 H) FLOPs, and those of loss and gradients three times that; the share of
peak compares them with a 2048 x 2048 product measured in the same run. These FLOPs are the
same for all rows, although dlx replaces the product 3HD, a fifth of them, by a table lookup.
"""

import functools
from typing import NamedTuple

from absl import app
from flax import linen as nn
import jax
import numpy as np
import optax
from rich.console import Console

from benchmarks import timing
from benchmarks.steps import MEASUREMENTS, jax_call, torch_call
from dlx.layers import embedding, gru, linear, losses

try:
  import torch
except ImportError:
  torch = None


VOCAB = 65
# Columns of the table: name and format.
COLUMNS = {"ms_per_step": ".2f", "tokens_per_second": ",.0f", "share_of_peak": ".0%"}
COLUMNS |= {"compile_seconds": ".1f", "dlx_divided_by_this": ".2f"}


class Size(NamedTuple):
  """The sizes of a batch (B, T) and of the layers (D, H), and the steps of one call."""

  batch: int
  length: int
  d: int
  hidden: int
  steps: int

  def __str__(self):
    return f"B{self.batch} T{self.length} D{self.d} H{self.hidden}"


SIZES = (Size(64, 128, 128, 512, 5), Size(32, 64, 64, 256, 20))


def flops(size: Size, measurement: str) -> int:
  """FLOPs of one step: the products of the forward pass, times three for training."""
  products = size.hidden * (3 * size.d + 3 * size.hidden + VOCAB)
  return 2 * size.batch * size.length * products * {"forward": 1, "training": 3}[measurement]


def make_params(size: Size) -> dict:
  """dlx's parameters with reset_after and random biases.

  Flax has no hidden bias for the gates r and z, so these are zero.
  """
  rngs = jax.random.split(jax.random.key(0), 4)
  weights = gru.init(rngs[0], size.d, size.hidden, reset_after=True)
  bias, hidden_bias = 0.1 * jax.random.normal(rngs[1], (2, 3 * size.hidden))
  weights |= {"bias": bias, "hidden_bias": hidden_bias.at[: 2 * size.hidden].set(0)}
  table = embedding.init(rngs[2], VOCAB, size.d)
  return {"embedding": table, "gru": weights, "out": linear.init(rngs[3], size.hidden, VOCAB)}


def make_tokens(size: Size) -> np.ndarray:
  """Ids (steps, B, T + 1): the inputs of a step and, shifted by one, its targets."""
  shape = (size.steps, size.batch, size.length + 1)
  return np.random.default_rng(0).integers(VOCAB, size=shape, dtype=np.int32)


def dlx_loss(params: dict, tokens: jax.Array, *, reset_after: bool = True) -> jax.Array:
  """The loss of ids (B, T + 1) with dlx's layers."""
  layer = embedding.fold(params["embedding"], params["gru"])
  _, ys = gru.scan(layer, tokens[:, :-1], reset_after=reset_after)
  return losses.cross_entropy(linear.apply(params["out"], ys), tokens[:, 1:])


def flax_params(params: dict) -> dict:
  """dlx's parameters under Flax's names."""
  gates = {name: np.split(value, 3, axis=-1) for name, value in params["gru"].items()}
  cell = {}
  for i, gate in enumerate("rzn"):
    cell[f"i{gate}"] = {"kernel": gates["input"][i], "bias": gates["bias"][i]}
    cell[f"h{gate}"] = {"kernel": gates["hidden"][i]}
  cell["hn"]["bias"] = gates["hidden_bias"][2]
  return {**params, "gru": cell}


def flax_loss(params: dict, tokens: jax.Array) -> jax.Array:
  """The loss of ids (B, T + 1) with Flax Linen's layers."""
  d, hidden = params["gru"]["in"]["kernel"].shape
  x = nn.Embed(VOCAB, d).apply({"params": params["embedding"]}, tokens[:, :-1])
  unroll = nn.RNN(nn.GRUCell(hidden, parent=None))
  x = unroll.apply({"params": {"cell": params["gru"]}}, x)
  logits = nn.Dense(VOCAB).apply({"params": params["out"]}, x)
  return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()


class TorchModel:
  """The same model with PyTorch's layers and dlx's parameters."""

  def __init__(self, params: dict):
    weights = params["gru"]
    d, hidden = weights["input"].shape[0], weights["hidden"].shape[0]
    self.layers = torch.nn.ModuleList([
        torch.nn.Embedding(VOCAB, d),
        torch.nn.GRU(d, hidden, batch_first=True),
        torch.nn.Linear(hidden, VOCAB),
    ])
    values = [params["embedding"]["embedding"], weights["input"].T, weights["hidden"].T]
    values += [weights["bias"], weights["hidden_bias"]]
    values += [params["out"]["kernel"].T, params["out"]["bias"]]
    with torch.no_grad():
      for parameter, value in zip(self.layers.parameters(), values, strict=True):
        parameter.copy_(torch.tensor(np.array(value)))

  def loss(self, tokens):
    """The loss of ids (B, T + 1), given as an int64 tensor."""
    lookup, unroll, out = self.layers
    logits = out(unroll(lookup(tokens[:, :-1]))[0])
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def check_equal(size: Size, params: dict) -> dict[str, float]:
  """The loss of each library on one batch; RuntimeError unless they agree to 1e-5."""
  tokens = make_tokens(size)[0]
  values = {"dlx": float(jax.jit(dlx_loss)(params, tokens))}
  values["Flax"] = float(jax.jit(flax_loss)(flax_params(params), tokens))
  if torch is not None:
    values["PyTorch"] = TorchModel(params).loss(torch.tensor(tokens, dtype=torch.long)).item()
  if not max(values.values()) - min(values.values()) <= 1e-5:
    raise RuntimeError(f"{size}: the losses of the same weights differ: {values}")
  return values


def _measure(size: Size, measurement: str, rounds: int, peak: float) -> list[dict]:
  """The rows of one table."""
  params, tokens = make_params(size), make_tokens(size)
  before = {**params, "gru": {k: v for k, v in params["gru"].items() if k != "hidden_bias"}}
  before_loss = functools.partial(dlx_loss, reset_after=False)
  calls = {
      "dlx": jax_call(dlx_loss, params, tokens, measurement),
      "dlx, reset_after=False": jax_call(before_loss, before, tokens, measurement),
      "Flax": jax_call(flax_loss, flax_params(params), tokens, measurement),
  }
  if torch is not None:
    batches = torch.tensor(np.array(tokens), dtype=torch.long)
    model = TorchModel(params)
    calls["PyTorch"] = torch_call(model.layers.parameters(), model.loss, batches, measurement)
  return timing.rows(
      calls, rounds, steps=size.steps, flops=flops(size, measurement), peak=peak,
      items={"tokens": size.batch * size.length}, size=str(size), measurement=measurement,
  )  # fmt: skip


def _run(rounds: int, peak: float) -> dict:
  """The losses of each size, and its rows."""
  result = {"losses": {}, "rows": []}
  for size in SIZES:
    result["losses"][str(size)] = check_equal(size, make_params(size))
    for measurement in MEASUREMENTS:
      result["rows"] += _measure(size, measurement, rounds, peak)
  return result


def _show(console: Console, result: dict) -> None:
  for size, values in result["losses"].items():
    console.print(f"{size}: same loss, {', '.join(f'{k} {v:.6f}' for k, v in values.items())}")
    for measurement in MEASUREMENTS:
      of = (size, measurement)
      rows = [row for row in result["rows"] if (row["size"], row["measurement"]) == of]
      console.print(timing.table(", ".join(of), rows, COLUMNS))


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  timing.program(argv, torch, _run, _show)


if __name__ == "__main__":
  app.run(main)
