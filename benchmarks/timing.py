"""How the benchmarks time: contestants take turns, and the minimum of several rounds counts."""

from collections.abc import Callable
import json
import os
import pathlib
import sys
import time
from types import ModuleType

from absl import app, flags, logging
import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from dlx import doctor

ROUNDS = flags.DEFINE_integer("rounds", 7, "How many times each row is timed.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "Also write the result to this file, as JSON.")

PEAK_SIZE = 2048


def fastest(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
  """Seconds of each call: the minimum over rounds in which the calls take turns."""
  for call in calls.values():
    call()
  best = dict.fromkeys(calls, float("inf"))
  for _ in range(rounds):
    for name, call in calls.items():
      time.sleep(0.1)  # the threads of the library before spin a while, waiting for work
      start = time.perf_counter()
      call()
      best[name] = min(best[name], time.perf_counter() - start)
  return best


def rows(
    calls: dict[str, tuple[Callable, float]],
    rounds: int,
    *,
    steps: int,
    flops: float,
    peak: float,
    items: dict[str, int],
    **same: str,
) -> list[dict]:
  """Times calls of several steps; a row for each, dlx's time as a share of its own among it.

  Args:
    calls: for each library its call, and the seconds that compiling took.
    rounds: as for `fastest`.
    steps: of a call.
    flops: of a step.
    peak: FLOP/s of the machine.
    items: how many of what a step works on, {"images": 128} say.
    **same: what all rows have.
  """
  best, found = fastest({name: call for name, (call, _) in calls.items()}, rounds), []
  for name, (_, compile_seconds) in calls.items():
    seconds = best[name] / steps
    found.append({
        **same, "library": name, "ms_per_step": 1e3 * seconds,
        **{f"{what}_per_second": count / seconds for what, count in items.items()},
        "share_of_peak": flops / seconds / peak, "compile_seconds": compile_seconds,
        "dlx_divided_by_this": best["dlx"] / best[name],
    })  # fmt: skip
  return found


def peak(rounds: int) -> float:
  """FLOP/s of a square float32 product."""
  x, product = jnp.ones((PEAK_SIZE, PEAK_SIZE)), jax.jit(jnp.matmul)
  seconds = fastest({"": lambda: product(x, x).block_until_ready()}, rounds)[""]
  return 2 * PEAK_SIZE**3 / seconds


def table(title: str, rows: list[dict], columns: dict[str, str]) -> Table:
  """A line for each row: its "library", and the numbers of `columns` in their formats."""
  shown = Table("", title=title, box=box.SIMPLE)
  for column in columns:
    shown.add_column(column.replace("_", " "), justify="right")
  for row in rows:
    shown.add_row(row["library"], *(f"{row[key]:{form}}" for key, form in columns.items()))
  return shown


def program(
    argv: list[str],
    torch: ModuleType | None,
    measure: Callable[[int, float], dict],
    show: Callable[[Console, dict], None],
) -> None:
  """The main function of a benchmark: measures, prints, and writes --output.

  Args:
    argv: the program's name and nothing else.
    torch: the module, or None where it is missing.
    measure: `measure(rounds, peak)` gives what belongs into the result beside machine,
      rounds, load and peak.
    show: prints the result after its first line.
  """
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  result = {"machine": doctor.facts(), "rounds": ROUNDS.value, "load_before": os.getloadavg()[0]}
  if torch is None:
    print('PyTorch is missing, so its rows are too; pip install -e ".[bench]"', file=sys.stderr)
  else:
    torch.set_num_threads(doctor.cores())
    result["machine"]["versions"]["torch"] = torch.__version__
  peak_flops = peak(ROUNDS.value)
  result |= {"peak_gflops": peak_flops / 1e9, **measure(ROUNDS.value, peak_flops)}
  console = Console(width=120)  # A file gets whole lines too.
  console.print(
      f"{result['machine']['cores']} cores, product peak {result['peak_gflops']:.0f} GFLOP/s, "
      f"load {result['load_before']:.1f} before the start"
  )
  show(console, result)
  if OUTPUT.value:
    pathlib.Path(OUTPUT.value).write_text(json.dumps(result, indent=2) + "\n")
