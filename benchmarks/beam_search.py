"""Greedy and beam search with the network of experiments/seq2seq:translation.

  python -m benchmarks.beam_search [--rounds=7] [--output=beam_search.json]

The network has drawn parameters, reads sources of 24 tokens and writes targets of 40: the end of a
sequence is given no probability, so that all searches take the same number of steps. The tables
have the time of a batch, beside that of greedy search.
"""

import functools

from absl import app, logging
import jax
import jax.numpy as jnp
from rich.console import Console

from benchmarks import timing
from dlx import doctor, malloc
from dlx.data import pairs
from dlx.models import seq2seq
from experiments.seq2seq import config as configs

BATCHES, SOURCE, WIDTHS = (1, 8, 32, 128), 24, (2, 4, 8)


def make_searches(batch_size: int) -> dict:
  """For each search a call that waits for the targets of a batch."""
  config = configs.get_config("translation")
  size, length = config.data.vocab_size, config.data.max_length
  model = seq2seq.make({**config.model, "shared": True}, size, size, length)
  source = jax.random.randint(jax.random.key(0), (batch_size, SOURCE), pairs.END + 1, size)
  params = model.init(jax.random.key(1), source, source > 0, source)["params"]
  params["output"]["bias"] = jnp.zeros(size).at[pairs.END].set(-1e9)
  options = {"max_length": length, "start": pairs.START, "end": pairs.END}

  @functools.partial(jax.jit, static_argnums=2)
  def search(params, source, width):
    return seq2seq.search(model, params, source, source > 0, width=width, **options)

  names = {"greedy": None, **{f"{k} beams": k for k in WIDTHS}}
  return {
      name: lambda width=width: jax.block_until_ready(search(params, source, width))
      for name, width in names.items()
  }


def measure(batch_size: int) -> list[dict]:
  """A row for each search."""
  seconds = timing.fastest(make_searches(batch_size), timing.ROUNDS.value)
  greedy = seconds["greedy"]
  return [
      {"sources": batch_size, "library": name, "ms": 1e3 * s, "divided_by_greedy": s / greedy}
      for name, s in seconds.items()
  ]


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  malloc.restart()
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  columns, rows = {"ms": ",.1f", "divided_by_greedy": ".2f"}, []
  for batch_size in BATCHES:
    of_batch = measure(batch_size)
    Console(width=120).print(timing.table(f"sources: {batch_size}", of_batch, columns))
    rows += of_batch
  timing.write({"machine": doctor.environment(), "rows": rows})


if __name__ == "__main__":
  app.run(main)
