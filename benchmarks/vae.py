"""The variational autoencoder beside PyTorch's example: time of a step, and test -ELBO.

  python -m benchmarks.vae --images=DIR [--rounds=7] [--output=FILE]     # time of a training step
  python -m benchmarks.vae --images=DIR --train --seeds=0,1,2            # PyTorch's test loss

DIR has MNIST's four IDX files. Both libraries train the network 784-400-20 of PyTorch's example
(pytorch/examples, vae/main.py) with Adam on the same 55,000 images, 128 in a batch.
`python -m launch.train --config=experiments/vae/config.py:fashion` gives dlx's test loss.
"""

import time

from absl import app, flags
import jax
import numpy as np
from rich.console import Console

from benchmarks import timing
from dlx.data import images
from dlx.training import fit, sharding, train
from dlx.training import step as steps_lib
from experiments.vae.config import get_config

try:
  import torch
except ImportError:
  torch = None

_IMAGES = flags.DEFINE_string("images", None, "Folder with MNIST's IDX files.")
_TRAIN = flags.DEFINE_bool("train", False, "Train PyTorch's network and print its test loss.")
_SEEDS = flags.DEFINE_list("seeds", ["0"], "Seeds of --train.")
STEPS, EPOCHS = 50, 10
COLUMNS = {"ms_per_step": ".2f", "images_per_second": ",.0f", "share_of_peak": ".0%"}
COLUMNS |= {"compile_seconds": ".1f", "dlx_divided_by_this": ".2f"}


def torch_network(d_image: int, d_hidden: int, d_latent: int):
  """The encoder and the decoder of PyTorch's example."""
  layers = [(d_image, d_hidden), (d_hidden, 2 * d_latent), (d_latent, d_hidden)]
  return torch.nn.ModuleList([torch.nn.Linear(*s) for s in [*layers, (d_hidden, d_image)]])


def torch_terms(network, x):
  """(reconstruction, KL) of pixels in [0, 1], in nats, summed over the images."""
  mu, log_var = network[1](torch.relu(network[0](x))).chunk(2, 1)
  z = mu + torch.exp(0.5 * log_var) * torch.randn_like(mu)
  logits = network[3](torch.relu(network[2](z)))
  reconstruction = torch.nn.functional.binary_cross_entropy_with_logits(
      logits, x, reduction="sum"
  )
  return reconstruction, -0.5 * torch.sum(1 + log_var - mu**2 - log_var.exp())


def _torch_images(part: images.Images):
  return torch.from_numpy(part.images.reshape(len(part), -1).copy())


def torch_steps(network, optimizer, data, batches) -> None:
  """Trains on the rows of `data` that each of `batches` names."""
  for indices in batches:
    optimizer.zero_grad()
    x = data[indices].float() / 255
    (sum(torch_terms(network, x)) / len(x)).backward()
    optimizer.step()


def train_torch(splits, seed: int) -> dict[str, float]:
  """Test -ELBO after the epoch with the least validation loss, and seconds of training."""
  config = get_config("fashion")
  torch.manual_seed(seed)
  data = {name: _torch_images(part) for name, part in splits._asdict().items()}
  network = torch_network(data["train"].shape[1], **config.model)
  optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
  size, best, seconds = config.data.batch_size, (np.inf, np.inf), 0.0

  def loss(split):
    with torch.no_grad():
      parts = (data[split][i : i + 1000].float() / 255 for i in range(0, len(data[split]), 1000))
      return sum(float(sum(torch_terms(network, x))) for x in parts) / len(data[split])

  for _ in range(EPOCHS):
    order = torch.randperm(len(data["train"]))
    start = time.perf_counter()
    torch_steps(network, optimizer, data["train"], order.split(size)[: len(order) // size])
    seconds += time.perf_counter() - start
    best = min(best, (loss("validation"), loss("test")))
  return {"validation": best[0], "test": best[1], "seconds": seconds}


def dlx_call(folder: str):
  """A call of STEPS steps of the preset `fashion`, and the seconds that compiling it took."""
  run = train.prepare(get_config("fashion", {"data.images": folder}), None)
  mesh = sharding.make_mesh()
  init, step = fit.make_program(run.task, run.config.training, 0, mesh)
  given = sharding.put_replicated((dict(run.data.train), None), mesh)
  state = [jax.jit(init)(given)]
  start = time.perf_counter()
  steps, count = steps_lib.make_steps(step, mesh, max_count=STEPS), np.int32(STEPS)
  program = steps.lower(state[0], given[0], count).compile()
  seconds = time.perf_counter() - start

  def call():
    state[0], metrics = program(state[0], given[0], count)
    jax.block_until_ready((state[0], metrics))

  return call, seconds


def _measure(rounds: int, peak: float) -> dict:
  config = get_config("fashion")
  size, (d_hidden, d_latent) = config.data.batch_size, (400, 20)
  calls = {"dlx": dlx_call(_IMAGES.value)}
  if torch is not None:
    data = _torch_images(images.load("", folder=_IMAGES.value, num_validation=5000).train)
    network = torch_network(data.shape[1], **config.model)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    batches = torch.randperm(len(data))[: STEPS * size].split(size)
    calls["PyTorch"] = (lambda: torch_steps(network, optimizer, data, batches)), 0.0
  products = 784 * d_hidden * 2 + d_hidden * d_latent * 3
  rows = timing.rows(
      calls, rounds, steps=STEPS, flops=6 * size * products, peak=peak, items={"images": size}
  )
  return {"rows": rows}


def _show(console: Console, result: dict) -> None:
  console.print(timing.table("VAE 784-400-20, a training step", result["rows"], COLUMNS))


def main(argv: list[str]) -> None:
  """Measures, or trains PyTorch's network."""
  if _IMAGES.value is None:
    raise app.UsageError("--images is missing")
  if not _TRAIN.value:
    return timing.program(argv, torch, _measure, _show)
  splits = images.load("", folder=_IMAGES.value, num_validation=5000)
  for seed in _SEEDS.value:
    found = train_torch(splits, int(seed))
    print(f"seed {seed}: " + ", ".join(f"{k} {v:.2f}" for k, v in found.items()), flush=True)


if __name__ == "__main__":
  app.run(main)
