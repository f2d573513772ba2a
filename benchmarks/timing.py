"""Timing: the libraries take turns, and the result is the minimum over several rounds."""

from collections.abc import Callable
import json
import os
import pathlib
import sys
import time
from types import ModuleType
from typing import Any

from absl import app, flags, logging
import jax
import jax.numpy as jnp
from rich import box
from rich.console import Console
from rich.table import Table

from dlx import doctor, malloc

ROUNDS = flags.DEFINE_integer("rounds", 7, "Number of times that each row is timed.", lower_bound=1)
OUTPUT = flags.DEFINE_string("output", None, "File to which the result is written, as JSON.")

PEAK_SIZE = 2048


def fastest(calls: dict[str, Callable], rounds: int) -> dict[str, float]:
  """Seconds of each call: the minimum over rounds in which the calls take turns.

  Each call runs once before the first round.
  """
  for call in calls.values():
    call()
  return {name: seconds for name, (seconds, _) in in_turns(calls, rounds).items()}


def in_turns(calls: dict[str, Callable], rounds: int) -> dict[str, tuple[float, Any]]:
  """(the least seconds, the last result) of each call, of several rounds in turns."""
  best, found = dict.fromkeys(calls, float("inf")), {}
  for _ in range(rounds):
    for name, call in calls.items():
      time.sleep(0.1)  # The previous library's threads spin for a while, waiting for work.
      start = time.perf_counter()
      found[name] = call()
      best[name] = min(best[name], time.perf_counter() - start)
  return {name: (best[name], found[name]) for name in calls}


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
  """Times calls of several steps and returns a row for each.

  "dlx_divided_by_this" is dlx's time divided by the row's.

  Args:
    calls: for each library its call, and the seconds that compiling took.
    rounds: as for `fastest`.
    steps: number of steps in a call.
    flops: FLOPs of a step.
    peak: FLOP/s of the machine.
    items: the size of a step's batch by unit, such as {"images": 128}.
    **same: entries that all rows share.
  """
  best, found = fastest({name: call for name, (call, _) in calls.items()}, rounds), []
  for name, (_, compile_seconds) in calls.items():
    seconds = best[name] / steps
    found.append({
        **same, "library": name, "ms_per_step": 1e3 * seconds,
        **{f"{unit}_per_second": count / seconds for unit, count in items.items()},
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
  """A line for each row: its "library", and the values of `columns`, each in its format."""
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
    torch: the module, or None if it is not installed.
    measure: `measure(rounds, peak)` returns the entries of the result besides machine,
      rounds, load and peak.
    show: prints the result after its first line.
  """
  malloc.restart()  # All libraries are timed with these settings.
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  machine = doctor.environment()
  result = {"machine": machine, "rounds": ROUNDS.value, "load_before": os.getloadavg()[0]}
  if torch is None:
    print('PyTorch is not installed, so it has no rows; pip install -e ".[bench]"', file=sys.stderr)
  else:
    torch.set_num_threads(doctor.cores())
    machine["versions"]["torch"] = torch.__version__
  peak_flops = peak(ROUNDS.value)
  result |= {"peak_gflops": peak_flops / 1e9, **measure(ROUNDS.value, peak_flops)}
  console = Console(width=120)  # Also when the output is a file.
  console.print(
      f"{machine['cores']} cores, product peak {result['peak_gflops']:.0f} GFLOP/s, "
      f"load {result['load_before']:.1f} before the start"
  )
  show(console, result)
  write(result)


def write(result: dict) -> None:
  """Writes --output, if it is given."""
  if OUTPUT.value:
    pathlib.Path(OUTPUT.value).write_text(json.dumps(result, indent=2) + "\n")
