"""What several devices add to a training step: time, and bytes that each device sends.

  python -m benchmarks.sharding [--rounds=5]

The CPU stands for eight devices. The step is the very one that launch.train compiles for a
debug preset, on a batch of 64. Two things are told:

- time on eight devices over time on one, for the same batch. The cores are the same ones,
  so the arithmetic takes equally long; what is more is splitting, copying and waiting.
- bytes that a device sends in a step, counted from the collectives of the compiled program
  as rings send them (an all-reduce of s bytes over n devices 2 (n-1)/n s, an all-gather or
  reduce-scatter (n-1)/n s), over the least possible: the gradients of all parameters once
  through an all-reduce. Of a switch every branch counts, though one of them runs: the
  classifier of texts has two, one for each length of a batch.

Source: Patarasuk and Yuan, "Bandwidth optimal all-reduce algorithms for clusters of
  workstations" (2009), for the bytes.
"""

import os

os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=8"

import importlib  # noqa: E402
import math  # noqa: E402
import pathlib  # noqa: E402
import re  # noqa: E402
import tempfile  # noqa: E402

from absl import app  # noqa: E402
import jax  # noqa: E402
from rich import box  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402

from benchmarks import timing  # noqa: E402
from dlx.training import sharding  # noqa: E402
from dlx.training import step as steps_lib  # noqa: E402

EXPERIMENTS = ("gru_lm", "resnet_cifar10", "transformer_sentiment")
MESHES = {"8 data": (8, 1), "2 data x 4 fsdp": (2, 4)}
BYTES = {"f64": 8, "s64": 8, "u64": 8, "f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2}
COLLECTIVE = re.compile(
    r" = (.*?) (all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute)(?:-start)?\("
)
# Three forms: [groups,size]<=..., {{0,1},{2,3}}, and mesh['x'=2,'y'=4] ... {'x'}.
GROUPS = re.compile(r"replica_groups=(?:\[\d+,(\d+)\]|\{\{([\d,]+)\}|mesh\[(.*?)\].*?\{(.*?)\})")


class _Captured(Exception):
  """Carries what an experiment gives to fit."""


def training_of(name: str, batch_size: int = 64) -> dict:
  """The arguments with which an experiment's debug preset calls fit."""
  module = importlib.import_module(f"experiments.{name}.experiment")
  config = importlib.import_module(f"experiments.{name}.config").get_config("debug")
  config.data.batch_size = batch_size

  def capture(workdir, training, **parts):
    raise _Captured({"config": training, **parts})

  original, module.fit = module.fit, capture
  try:
    with tempfile.TemporaryDirectory() as folder:
      module.train(config, pathlib.Path(folder) / "run")
  except _Captured as captured:
    return captured.args[0]
  finally:
    module.fit = original
  raise AssertionError(f"{name} does not call fit")


def compiled(training: dict, shape: tuple[int, int]):
  """(call of one step that keeps its state, the program's text, bytes of the parameters)."""
  mesh = sharding.make_mesh(shape[1], jax.devices()[: math.prod(shape)])
  step = steps_lib.make_step(
      training["loss_fn"], training["batch_fn"], training["optimizer"],
      seed=0, mesh=mesh, ema_decay=training["config"].ema_decay,
  )  # fmt: skip
  placed = sharding.of_state(jax.eval_shape(training["init"]), mesh)
  state = jax.jit(training["init"], out_shardings=placed)()
  data = sharding.on_every_device(training["data"], mesh)
  program = steps_lib.make_steps(step, mesh, placed).lower(state, data, 1).compile()
  held = [state]

  def call():
    held[0], metrics = program(held[0], data)
    jax.block_until_ready((held[0], metrics))

  return call, program.as_text(), sum(x.nbytes for x in jax.tree.leaves(state.params))


def devices_of(line: str) -> int:
  """How many devices take part in each group of a collective."""
  groups = GROUPS.search(line)
  if groups is None:  # All of them, which the text leaves out.
    return jax.device_count()
  size, members, axes, used = groups.groups()
  if size:
    return int(size)
  if members:
    return len(members.split(","))
  sizes = dict(re.findall(r"'(\w+)'=(\d+)", axes))
  return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", used))


def bytes_sent(text: str) -> float:
  """Bytes that one device sends, by the collectives in the text of a compiled program."""
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
    share = (count - 1) / count
    factor = {"all-reduce": 2 * share, "reduce-scatter": count * share, "collective-permute": 1}
    total += factor.get(found[2], share) * size
  return total


def main(_) -> None:
  """Measures all experiments on all meshes."""
  shown = Table("experiment", "parameters", "mesh", "ms per step", "over one device",
                "KB sent", "least", "sent / least", box=box.SIMPLE)  # fmt: skip
  for name in EXPERIMENTS:
    training = training_of(name)
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
