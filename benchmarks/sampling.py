"""Characters per second that a trained language model generates, with a batch of one.

  python -m benchmarks.sampling --run=WORKDIR [--characters=5000] [--rounds=7]

Samples as launch.sample does. The time to the first chunk, which includes compiling and
reading the prompt, is reported separately. The speed is that of the remaining chunks, in the
fastest round.
"""

import time

from absl import app, flags, logging

from benchmarks import timing
import dlx
from dlx import malloc

_RUN = flags.DEFINE_string("run", None, "Workdir of the run.")
_CHARACTERS = flags.DEFINE_integer("characters", 5000, "Characters to generate.", lower_bound=500)


def measure(run, length: int, rounds: int) -> dict[str, float]:
  """Seconds to the first chunk, and characters per second after it.

  Raises:
    ValueError: all characters are in the first chunk.
  """
  first, fastest = float("inf"), 0.0
  for _ in range(rounds):
    start = time.perf_counter()
    chunks = dlx.sample(run, prompt="\n", length=length, temperature=0.8)
    next(chunks)
    compiled = time.perf_counter()
    characters = sum(map(len, chunks))
    if not characters:
      raise ValueError(f"length: expected more than one chunk, got {length}")
    first = min(first, compiled - start)
    fastest = max(fastest, characters / (time.perf_counter() - compiled))
  return {"seconds_to_first_chunk": first, "characters_per_second": fastest}


def main(argv: list[str]) -> None:
  """Prints the results."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  malloc.restart()
  if _RUN.value is None:
    raise app.UsageError("--run is missing")
  run = dlx.load_run(_RUN.value)
  figures = measure(run, _CHARACTERS.value, timing.ROUNDS.value)
  model = ", ".join(f"{name} {value}" for name, value in run.config.model.items())
  print(f"{model}; {_CHARACTERS.value} characters, best of {timing.ROUNDS.value}")
  print(
      f"first chunk after {figures['seconds_to_first_chunk']:.2f} s (compiling and prompt), "
      f"then {figures['characters_per_second']:,.0f} characters/s"
  )


if __name__ == "__main__":
  app.run(main)
