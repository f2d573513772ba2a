"""A training step on one CPU device, and on as many virtual devices as there are cores.

  python -m benchmarks.cpu_devices [--presets=gru_lm:quickstart,...] [--rounds=7] [--output=FILE]

The step is the one that launch.train compiles, on the preset's batch; virtual devices share it.
JAX divides a large operation of one device among the cores, but runs small ones, such as those of
a step of a recurrent network, one after another; virtual devices run beside each other.
"""

import os

from absl import app, flags
import jax
from rich.console import Console

from benchmarks import sharding, timing
from dlx import doctor, malloc

PRESETS = flags.DEFINE_list(
    "presets", ["gru_lm:quickstart", "transformer_lm:quickstart"],
    "Experiments and their presets; the default ones need no data set.",
)  # fmt: skip
COLUMNS = {"ms_per_step": ",.0f", "over_one_device": ".2f"}


def measure(preset: str, counts: tuple[int, ...], rounds: int) -> list[dict]:
  """A row for each number of devices, of which the first is 1."""
  experiment, _, name = preset.partition(":")
  run = sharding.prepared(experiment, name)
  calls = {str(n): sharding.compiled(run, (n, 1))[0] for n in counts}
  best = timing.fastest(calls, rounds)
  return [
      {"preset": preset, "library": f"devices: {n}", "ms_per_step": 1e3 * seconds,
       "over_one_device": seconds / best["1"]}
      for n, seconds in best.items()
  ]  # fmt: skip


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  malloc.restart()
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  cores, load = doctor.cores(), os.getloadavg()[0]
  jax.config.update("jax_num_cpu_devices", cores)
  console, result = Console(width=120), {"machine": doctor.environment(), "rows": []}
  console.print(f"{cores} cores, jax {jax.__version__}, load {load:.1f} before the start")
  for preset in PRESETS.value:
    rows = measure(preset, (1, cores), timing.ROUNDS.value)
    console.print(timing.table(preset, rows, COLUMNS))
    result["rows"] += rows
  timing.write(result)


if __name__ == "__main__":
  app.run(main)
