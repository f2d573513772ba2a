"""The overhead of several devices in a training step: time, and bytes sent per device.

  python -m benchmarks.sharding [--rounds=5]

The CPU is split into eight virtual devices. The step is the one that launch.train compiles
for a debug preset, on a batch of 64. Two ratios are reported:

- The time on eight devices over the time on one, for the same batch. Both use the same
  cores, so the arithmetic takes equally long; the rest is splitting, copying and waiting.
- The bytes that a device sends in a step over the minimum, an all-reduce of the gradients of
  all parameters. They are counted from the collectives of the compiled program with ring
  algorithms: over n devices an all-reduce of s bytes sends 2 (n-1)/n s, an all-gather or a
  reduce-scatter (n-1)/n s. Every branch of a switch is counted although only one runs: the
  document classifier has two, one for each sequence length of a batch.

Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
  workstations" (2009), for the bytes.
"""

import importlib
import math
import os
import re

from absl import app
import jax
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks import timing
from dlx import malloc
from dlx.experiment import numeric
from dlx.training import fit, sharding, train
from dlx.training import step as steps_lib

EXPERIMENTS = ("gru_lm", "resnet_cifar10", "transformer_sentiment")
MESHES = {"8 data": (8, 1), "2 data x 4 fsdp": (2, 4)}
BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
# Groups have three forms: [groups,size]<=..., {{0,1},{2,3}}, and mesh['x'=2,'y'=4] ... {'x'}.
GROUPS = re.compile(r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\}|mesh\[(.*?)\].*?\{(.*?)\})")


def prepared(name: str, preset: str = "debug", **options) -> train.Prepared:
  """The preset of an experiment, with changes of its settings."""
  configs = importlib.import_module(f"experiments.{name}.config")
  return train.prepare(configs.get_config(preset, options), None)


def compiled(run: train.Prepared, shape: tuple[int, int]):
  """(a call that runs one step and keeps the state, the program's text, parameter bytes)."""
  mesh = sharding.make_mesh(shape[1], jax.devices()[: math.prod(shape)])
  init, step = fit.make_program(run.task, run.config.training, 0, mesh)
  given = sharding.put_replicated((numeric(run.data.train), run.data.pretrained), mesh)
  shardings = sharding.state_sharding(jax.eval_shape(init, given), mesh)
  state = jax.jit(init, out_shardings=shardings)(given)
  program = steps_lib.make_steps(step, mesh, shardings).lower(state, given[0], 1).compile()
  held = [state]

  def call():
    held[0], metrics = program(held[0], given[0])
    jax.block_until_ready((held[0], metrics))

  return call, program.as_text(), sum(x.nbytes for x in jax.tree.leaves(state.params))


def devices_of(line: str) -> int:
  """The number of devices in each group of a collective."""
  groups = GROUPS.search(line)
  if groups is None:  # One group of all devices, which the text omits.
    return jax.device_count()
  size, members, axes, used = groups.groups()
  if size:
    return int(size)
  if members:
    return len(members.split(","))
  sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes))
  return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", used))


def bytes_sent(text: str) -> float:
  """Bytes that one device sends, counted from the collectives in a compiled program's text."""
  total = 0.0
  for line in text.splitlines():
    found = COLLECTIVE.search(line)
    if not found:
      continue
    size = sum(
        BYTES.get(dtype, 1) * math.prod(int(n) for n in dims.split(",") if n)
        for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", found[1])
    )
    count = 1 if found[2] == "collective-permute" else devices_of(line)
    fraction = (count - 1) / count
    factors = {
        "all-reduce": 2 * fraction, "reduce-scatter": count * fraction, "collective-permute": 1
    }  # fmt: skip
    total += factors.get(found[2], fraction) * size
  return total


def main(_) -> None:
  """Measures all experiments on all meshes."""
  malloc.restart()
  jax.config.update("jax_num_cpu_devices", 8)
  shown = Table("experiment", "parameters", "mesh", "ms per step", "over one device",
                "KB sent", "least", "sent / least", box=box.SIMPLE)  # fmt: skip
  for name in EXPERIMENTS:
    training = prepared(name, **{"data.batch_size": 64})
    programs = {"1": compiled(training, (1, 1))}
    programs |= {mesh: compiled(training, shape) for mesh, shape in MESHES.items()}
    best = timing.fastest({m: call for m, (call, _, _) in programs.items()}, timing.ROUNDS.value)
    for mesh, (_, text, size) in programs.items():
      least = 2 * 7 / 8 * size if mesh != "1" else 0
      sent = bytes_sent(text)
      shown.add_row(
          name, f"{size // 4:,}", mesh, f"{1e3 * best[mesh]:.1f}",
          f"{best[mesh] / best['1']:.2f}", f"{sent / 1e3:.1f}", f"{least / 1e3:.1f}",
          f"{sent / least:.2f}" if least else "",
      )  # fmt: skip
  print(f"{os.cpu_count()} cores, jax {jax.__version__}, load {os.getloadavg()[0]:.1f}")
  Console(width=130, highlight=False).print(shown)


if __name__ == "__main__":
  app.run(main)
