"""How the benchmarks time: contestants take turns, and the minimum of several rounds counts."""

from collections.abc import Callable
import time

from absl import flags
import jax
import jax.numpy as jnp

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


def peak(rounds: int) -> float:
  """FLOP/s of a square float32 product."""
  x, product = jnp.ones((PEAK_SIZE, PEAK_SIZE)), jax.jit(jnp.matmul)
  seconds = fastest({"": lambda: product(x, x).block_until_ready()}, rounds)[""]
  return 2 * PEAK_SIZE**3 / seconds
