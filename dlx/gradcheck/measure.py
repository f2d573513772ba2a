"""Time and memory of a rule and of jax's own gradient of the reference."""

import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from dlx.gradcheck import check
from dlx.gradcheck.case import Case


class Cost(NamedTuple):
  """Seconds and bytes of temporaries for one call of the compiled gradient."""

  seconds: float
  temporaries: int


def compile_both(case: Case, seed: int = 0) -> tuple[dict, tuple]:
  """The compiled float32 gradient by rule and by jax at the typical sizes, and arguments."""
  rng = np.random.default_rng(seed)
  inputs, options = check.cast(case.example(rng, **case.typical), jnp.float32)
  d_out = check.cotangents(case, inputs, options, rng)
  ways = {"rule": check.by_rule, "jax": check.by_jax}
  compiled = {
      way: jax.jit(lambda i, d, by=by: by(case, i, d, options)).lower(inputs, d_out).compile()
      for way, by in ways.items()
  }
  return compiled, (inputs, d_out)


def costs(case: Case, rounds: int = 5) -> dict[str, Cost]:
  """The cost of the gradient by "rule" and by "jax": the minimum over alternating rounds.

  Both take only the inputs and d_out, so both include the forward pass.
  """
  compiled, arguments = compile_both(case)
  best = dict.fromkeys(compiled, float("inf"))
  for _ in range(rounds + 1):
    for way, run in compiled.items():
      start = time.perf_counter()
      jax.block_until_ready(run(*arguments))
      best[way] = min(best[way], time.perf_counter() - start)
  return {
      way: Cost(best[way], run.memory_analysis().temp_size_in_bytes)
      for way, run in compiled.items()
  }
