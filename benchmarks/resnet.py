"""A training step of residual networks in dlx, Flax Linen and PyTorch.

  python -m benchmarks.resnet --output=resnet.json

Networks for 32 x 32 images: resnet20 and resnet18 with the CIFAR stem and batches of 128,
and the fast network of the `cpu` preset with batches of 500. A step is the cross-entropy
loss, its gradients and an update by SGD with Nesterov momentum and weight decay on the
kernels, in float32; PyTorch has another row under bfloat16 autocast. The rows of a network
start from the same weights, and the program first checks that the three libraries compute
the same loss from them.

Method: a row is timed as one call of a few steps. The rows take turns in rounds, and the
result is the minimum over rounds, without compile time. Nothing else should run on the
machine. dlx runs its steps inside one compiled lax.scan, as in its training. Flax runs each
step as a separate compiled call, because jax's own gradients of convolutions are many times
slower inside a loop (jax issue 12868). PyTorch uses channels_last and oneDNN. The share of
peak compares the model's products, three times those of the forward pass, with a 2048 x 2048
float32 product of the same run.
"""

from collections.abc import Callable
import functools
import time
from typing import NamedTuple

from absl import app
import jax
from jax import lax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from benchmarks import resnet_flax, timing
from dlx.layers import losses
from dlx.models import fast_resnet, resnet
from dlx.training import optimizers

try:
  import torch

  from benchmarks import resnet_torch
except ImportError:
  torch = None

CLASSES = 10
RATE, MOMENTUM, DECAY = 0.1, 0.9, 5e-4
COLUMNS = {"images_per_second": ",.0f", "ms_per_step": ",.0f", "share_of_peak": ".0%"}
COLUMNS |= {"compile_seconds": ".1f", "dlx_divided_by_this": ".2f"}


class Network(NamedTuple):
  """A network in dlx; its class name and sizes in Flax and PyTorch; batch size; steps per call."""

  name: str
  model: object
  class_name: str
  sizes: tuple
  batch: int
  steps: int

  def flax(self):
    """The network in Flax."""
    return getattr(resnet_flax, self.class_name)(CLASSES, *self.sizes)

  def torch(self, params: dict, variables: dict):
    """The network in PyTorch, with dlx's parameters."""
    return resnet_torch.load(
        getattr(resnet_torch, self.class_name)(CLASSES, *self.sizes), params, variables
    )


def _published(name: str, steps: int) -> Network:
  model = getattr(resnet, name)(CLASSES)
  return Network(name, model, "ResNet", (model.depths, model.channels), 128, steps)


_FAST = fast_resnet.FastResNet(CLASSES)
NETWORKS = (
    _published("resnet20", 6),
    _published("resnet18", 1),
    Network("fast", _FAST, "FastResNet", (_FAST.widths,), 500, 1),
)


@functools.cache
def make_state(network: Network) -> tuple[dict, dict]:
  """dlx's (params, variables)."""
  x = jnp.zeros((1, 32, 32, 3))
  variables = dict(jax.jit(network.model.init)(jax.random.key(0), x))
  params = variables.pop("params")
  if "whitening" in variables:
    kernel = jnp.asarray(fast_resnet.whitening(make_batches(network)[0][0]))
    variables["whitening"] = {"kernel": kernel}
  return params, variables


def make_batches(network: Network) -> tuple[np.ndarray, np.ndarray]:
  """Images (steps, B, 32, 32, 3) and labels (steps, B)."""
  rng = np.random.default_rng(0)
  shape = (network.steps, network.batch)
  images = rng.normal(size=(*shape, 32, 32, 3)).astype(np.float32)
  return images, rng.integers(CLASSES, size=shape, dtype=np.int32)


def jax_loss(apply: Callable, params: dict, variables: dict, images, labels):
  """(cross-entropy, new variables) of a network of dlx or Flax."""
  logits, new = apply({"params": params, **variables}, images, mutable="batch_stats")
  return losses.cross_entropy(logits, labels), {**variables, **new}


def applies(network: Network) -> dict[str, Callable]:
  """The networks of dlx and Flax in training mode; both take dlx's params and variables."""
  ours = functools.partial(network.model.apply, train=True)
  return {"dlx": ours, "Flax": network.flax().apply}


def check_equal(network: Network) -> dict[str, float]:
  """The loss of each library on one batch; RuntimeError unless they agree to 1e-4."""
  params, variables = make_state(network)
  images, labels = (v[0] for v in make_batches(network))
  values = {
      name: float(jax.jit(functools.partial(jax_loss, apply))(params, variables, images, labels)[0])
      for name, apply in applies(network).items()
  }
  if torch is not None:
    model = network.torch(params, variables)
    with torch.no_grad():
      values["PyTorch"] = torch_loss(model, *_torch_batch(images, labels)).item()
  if not max(values.values()) - min(values.values()) <= 1e-4:
    raise RuntimeError(f"{network.name}: the losses of the same weights differ: {values}")
  return values


def flops(network: Network) -> float:
  """FLOPs of one step: three times the forward pass, as XLA counts it before compiling."""
  params, variables = make_state(network)
  images = jax.ShapeDtypeStruct((network.batch, 32, 32, 3), jnp.float32)
  forward = jax.jit(lambda x: network.model.apply({"params": params, **variables}, x))
  return 3 * forward.lower(images).cost_analysis()["flops"]


def _jax_call(apply: Callable, network: Network, *, scan: bool):
  """A call that runs all steps, and the seconds that compiling it took."""
  optimizer = optimizers.sgd(
      momentum=MOMENTUM, weight_decay=DECAY, learning_rate=RATE, total_steps=1
  )

  def step(state, batch):
    params, variables, opt_state = state
    value_and_grad = jax.value_and_grad(functools.partial(jax_loss, apply), has_aux=True)
    (loss, variables), grads = value_and_grad(params, variables, *batch)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    return (optax.apply_updates(params, updates), variables, opt_state), loss

  params, variables = jax.tree.map(jnp.copy, make_state(network))  # The state is donated.
  state = params, variables, optimizer.init(params)
  batches = jax.tree.map(jnp.asarray, make_batches(network))
  batches = [batches] if scan else [tuple(v[i] for v in batches) for i in range(network.steps)]
  run = functools.partial(lax.scan, step) if scan else step
  start = time.perf_counter()
  compiled = jax.jit(run, donate_argnums=0).lower(state, batches[0]).compile()
  seconds = time.perf_counter() - start

  def call():
    nonlocal state
    for batch in batches:
      state, _ = compiled(state, batch)
    jax.block_until_ready(state)

  return call, seconds


def _torch_batch(images, labels):
  images = torch.tensor(images).permute(0, 3, 1, 2)  # Without a copy: channels_last.
  return images, torch.tensor(labels, dtype=torch.long)


def torch_loss(model, images, labels):
  """Cross-entropy of PyTorch's network."""
  return torch.nn.functional.cross_entropy(model(images).float(), labels)


def _torch_call(network: Network, *, half: bool):
  """The same for PyTorch, without compilation."""
  model = network.torch(*make_state(network))
  trained = [p for p in model.parameters() if p.requires_grad]
  groups = [
      {"params": [p for p in trained if p.ndim > 1], "weight_decay": DECAY},
      {"params": [p for p in trained if p.ndim <= 1]},
  ]
  optimizer = torch.optim.SGD(groups, lr=RATE, momentum=MOMENTUM, nesterov=True)
  batches = [_torch_batch(*batch) for batch in zip(*make_batches(network))]

  def call():
    for batch in batches:
      optimizer.zero_grad()
      with torch.autocast("cpu", torch.bfloat16, enabled=half):
        loss = torch_loss(model, *batch)
      loss.backward()
      optimizer.step()

  return call, 0.0


def _measure(network: Network, rounds: int, peak: float) -> list[dict]:
  """The rows of one table."""
  calls = {
      name: _jax_call(apply, network, scan=name == "dlx")
      for name, apply in applies(network).items()
  }
  if torch is not None:
    calls["PyTorch"] = _torch_call(network, half=False)
    calls["PyTorch, bfloat16"] = _torch_call(network, half=True)
  return timing.rows(
      calls, rounds, steps=network.steps, flops=flops(network), peak=peak,
      items={"images": network.batch}, network=network.name,
  )  # fmt: skip


def _run(rounds: int, peak: float) -> dict:
  """The losses of each network, and its rows."""
  result = {"losses": {}, "rows": []}
  for network in NETWORKS:
    result["losses"][network.name] = check_equal(network)
    result["rows"] += _measure(network, rounds, peak)
  return result


def _show(console: Console, result: dict) -> None:
  for name, values in result["losses"].items():
    console.print(f"{name}: same loss, {', '.join(f'{k} {v:.5f}' for k, v in values.items())}")
    rows = [row for row in result["rows"] if row["network"] == name]
    console.print(timing.table(name, rows, COLUMNS))


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  timing.program(argv, torch, _run, _show)


if __name__ == "__main__":
  app.run(main)
