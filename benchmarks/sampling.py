"""Characters per second that a trained language model writes, one text at a time.

  python -m benchmarks.sampling --run=WORKDIR [--characters=5000] [--rounds=7]

Runs what launch.sample runs. The first piece is apart: its time is that of compiling and
of reading the prompt. The rest is the figure, the best of the rounds.
"""

import time

from absl import app, flags, logging

from benchmarks import timing

_RUN = flags.DEFINE_string("run", None, "Workdir of the run.")
_CHARACTERS = flags.DEFINE_integer("characters", 5000, "How many to draw.", lower_bound=500)


def measure(run, length: int, rounds: int) -> dict[str, float]:
  """Seconds to the first piece, and characters per second from there on.

  Raises:
    ValueError: the first piece is the whole text.
  """
  first, fastest = float("inf"), 0.0
  for _ in range(rounds):
    start = time.perf_counter()
    pieces = run.experiment.sample(run, "\n", length, temperature=0.8)
    next(pieces)
    compiled = time.perf_counter()
    characters = sum(map(len, pieces))
    if not characters:
      raise ValueError(f"length: expected more than one piece, got {length}")
    first = min(first, compiled - start)
    fastest = max(fastest, characters / (time.perf_counter() - compiled))
  return {"seconds_to_first_piece": first, "characters_per_second": fastest}


def main(argv: list[str]) -> None:
  """Prints the figures."""
  if len(argv) > 1:
    raise app.UsageError(f"unknown argument {argv[1]}")
  logging.set_verbosity(logging.WARNING)
  import dlx

  if _RUN.value is None:
    raise app.UsageError("--run is missing")
  run = dlx.load_run(_RUN.value)
  figures = measure(run, _CHARACTERS.value, timing.ROUNDS.value)
  model = ", ".join(f"{name} {value}" for name, value in run.config.model.items())
  print(f"{model}; {_CHARACTERS.value} characters, best of {timing.ROUNDS.value}")
  print(
      f"first piece after {figures['seconds_to_first_piece']:.2f} s (compiling and prompt), "
      f"then {figures['characters_per_second']:,.0f} characters/s"
  )


if __name__ == "__main__":
  app.run(main)
