"""A GPT in dlx and PyTorch, on the same machine: a training step, and sampling.

  python -m benchmarks.gpt [--rounds=7] [--output=gpt.json]

The network is that of experiments/transformer_lm:quickstart (four causal blocks of width 192 with
six heads, rotary positions, a convolution over three tokens, no dropout) for 65 characters, with
sequences of 256. PyTorch's uses scaled_dot_product_attention. Both start from the same weights,
and the program first checks that they compute the same loss. A step is loss, gradients and an
update by Adam, on 32 sequences. Sampling draws one sequence with a cache of keys and values, and
by passes over the whole context; the speed is in tokens per second.
"""

import time

from absl import app
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from benchmarks import timing
from benchmarks.steps import MEASUREMENTS, jax_call, torch_call
from dlx.layers import decoding
from experiments.transformer_lm import config as configs
from experiments.transformer_lm import experiment

try:
  import torch
  from torch.nn import functional as F
except ImportError:
  torch = None

STEPS, BATCH, LENGTH = 2, 32, 256
CHARACTERS = "".join(chr(32 + i) for i in range(65))
COLUMNS = {"ms_per_step": ",.0f", "tokens_per_second": ",.0f", "share_of_peak": ".0%"}
COLUMNS |= {"compile_seconds": ".1f", "dlx_divided_by_this": ".2f"}


def make_task():
  """(the model's config, the task) of the preset."""
  config = configs.get_config("quickstart")
  return config.model, experiment.make(config, {"characters": CHARACTERS})


def flops(model, measurement: str) -> int:
  """FLOPs of the products of a step; of attention, those below the diagonal."""
  d, f, n = model.d_model, model.d_ff, model.num_layers
  window = model.conv_width * d**2 if model.conv_width > 1 else 0
  feed_forward = (3 if model.gated else 2) * d * f
  products = n * (4 * d**2 + window + feed_forward + LENGTH * d) + d * len(CHARACTERS)
  return 2 * BATCH * LENGTH * products * {"forward": 1, "training": 3}[measurement]


def torch_params(params: dict) -> dict:
  """dlx's parameters as PyTorch's, which train."""
  return jax.tree.map(lambda p: torch.tensor(np.array(p), requires_grad=True), params)


def torch_loss(params: dict, model, batch):
  """The loss of (2, B, T) ids and targets."""
  network, (ids, targets) = params["transformer"], batch
  x = F.embedding(ids, network["embedding"]["embedding"])
  for i in range(model.num_layers):
    block = network[f"block{i}"]
    if model.conv_width > 1:
      x = x + _torch_convolution(block, _torch_norm(block["window_norm"], x), model.conv_width)
    x = x + _torch_attention(block, _torch_norm(block["attention_norm"], x), model.num_heads)
    y = _torch_norm(block["feed_forward_norm"], x)
    inner = _torch_linear(block["feed_forward_in"], y)
    if model.gated:
      inner = F.silu(_torch_linear(block["feed_forward_gate"], y)) * inner
    else:
      inner = F.gelu(inner)
    x = x + _torch_linear(block["feed_forward_out"], inner)
  logits = _torch_linear(params["output"], _torch_norm(network["final_norm"], x))
  return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def _torch_linear(params, x):
  return F.linear(x, params["kernel"].T, params["bias"])


def _torch_norm(params, x):
  return F.layer_norm(x, x.shape[-1:], params["scale"], params["bias"])


def _torch_convolution(block, x, width: int):
  kernel = block["window"]["kernel"].unflatten(0, (width, -1)).permute(2, 1, 0)
  x = F.pad(x.transpose(1, 2), (width - 1, 0))
  return F.gelu(F.conv1d(x, kernel, block["window"]["bias"]).transpose(1, 2))


def _torch_attention(block, x, num_heads: int):
  params = block["attention"]
  heads = lambda x: x.unflatten(-1, (num_heads, -1)).transpose(1, 2)  # noqa: E731
  query, key, value = (heads(_torch_linear(params[n], x)) for n in ("query", "key", "value"))
  query, key = _torch_rotary(query), _torch_rotary(key)
  y = F.scaled_dot_product_attention(query, key, value, is_causal=True)
  return _torch_linear(params["out"], y.transpose(1, 2).flatten(-2))


def _torch_rotary(x):
  d = x.shape[-1]
  angles = torch.outer(torch.arange(x.shape[-2]), 10_000.0 ** (-torch.arange(0, d, 2) / d))
  cos, sin, (a, b) = angles.cos(), angles.sin(), x.chunk(2, -1)
  return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def check_equal(task, model, variables, batch) -> dict[str, float]:
  """The loss of each library on one batch; RuntimeError unless they agree to 1e-4."""
  dlx = task.eval_fn(variables, dict(zip(("inputs", "targets"), batch)), None)["loss"][0].mean()
  values = {"dlx": float(dlx)}
  if torch is not None:
    with torch.inference_mode():
      params = torch_params(variables["params"])
      values["PyTorch"] = torch_loss(params, model, torch.tensor(batch)).item()
  if not max(values.values()) - min(values.values()) <= 1e-4:
    raise RuntimeError(f"the losses of the same weights differ: {values}")
  return values


def _measure_steps(task, model, variables, measurement, rounds, peak):
  shape = (STEPS, 2, BATCH, LENGTH)
  batches = np.random.default_rng(0).integers(0, len(CHARACTERS), shape)

  def loss(params, batch):
    batch = {"inputs": batch[0], "targets": batch[1], "step": 0}
    if measurement == "forward":
      return task.eval_fn({"params": params}, batch, None)["loss"][0].mean()
    return task.loss_fn({"params": params}, batch, jax.random.key(0)).value

  calls = {"dlx": jax_call(loss, variables["params"], jnp.asarray(batches, jnp.int32), measurement)}
  if torch is not None:
    params = torch_params(variables["params"])
    leaves = jax.tree.leaves(params)
    calls["PyTorch"] = torch_call(
        leaves, lambda batch: torch_loss(params, model, batch), torch.tensor(batches), measurement
    )
  return timing.rows(
      calls, rounds, steps=STEPS, flops=flops(model, measurement), peak=peak,
      items={"tokens": BATCH * LENGTH}, measurement=measurement,
  )  # fmt: skip


def uncached(task, variables, length: int):
  """Draws `length` ids, each by a pass over all LENGTH positions, in one compiled loop."""

  @jax.jit
  def draw(variables, rng):
    def one(i, state):
      ids, rng = state
      rng, draw_rng = jax.random.split(rng)
      logits = task.outputs_fn(variables, {"inputs": ids})
      drawn = decoding.sample(draw_rng, logits[i], temperature=0.8)
      return ids.at[i + 1].set(drawn), rng

    return jax.lax.fori_loop(0, length, one, (jnp.zeros(LENGTH, jnp.int32), rng))[0]

  return lambda: draw(variables, jax.random.key(0)).block_until_ready()


def _measure_sampling(task, variables, rounds: int) -> dict[str, float]:
  """Tokens per second of launch.sample, without its first piece, and of the uncached loop."""

  def cached():
    pieces = task.sample(variables, jax.random.key(0), length=2000)
    next(pieces)
    start = time.perf_counter()
    return sum(piece.num_tokens for piece in pieces) / (time.perf_counter() - start)

  count = LENGTH - 1
  seconds = timing.fastest({"": uncached(task, variables, count)}, rounds)[""]
  return {"with a cache": max(cached() for _ in range(rounds)), "without": count / seconds}


def _run(rounds: int, peak: float) -> dict:
  model, task = make_task()
  variables = jax.jit(lambda rng: task.init_fn(rng, None))(jax.random.key(0))
  batch = np.random.default_rng(1).integers(0, len(CHARACTERS), (2, BATCH, LENGTH))
  result = {"losses": check_equal(task, model, variables, batch), "rows": []}
  for measurement in MEASUREMENTS:
    result["rows"] += _measure_steps(task, model, variables, measurement, rounds, peak)
  return {**result, "sampling": _measure_sampling(task, variables, rounds)}


def _show(console: Console, result: dict) -> None:
  console.print(f"same loss, {', '.join(f'{k} {v:.6f}' for k, v in result['losses'].items())}")
  for measurement in MEASUREMENTS:
    rows = [row for row in result["rows"] if row["measurement"] == measurement]
    console.print(timing.table(measurement, rows, COLUMNS))
  speeds = ", ".join(f"{name} {speed:,.0f}" for name, speed in result["sampling"].items())
  console.print(f"tokens/s of one sequence: {speeds}")


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  timing.program(argv, torch, _run, _show)


if __name__ == "__main__":
  app.run(main)
