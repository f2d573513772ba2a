"""Attention, causal and with padding, compared with jax.grad, jax.nn and PyTorch.

  python -m benchmarks.attention [--rounds=7] [--only=causal] [--output=attention.json]

The method is that of benchmarks.gradients: forward and backward in float32 on the same values,
after a check of equal results; the minimum over rounds in which the rows take turns.
"""

import functools

from absl import app

from benchmarks import gradients, layers_torch, timing

_WANTED = {"PyTorch": 1.0}
PROBLEMS = tuple(
    functools.partial(
        gradients.scaled_dot_product, *size, is_causal=is_causal, wanted=_WANTED
    )
    for size in ((2, 8, 2048, 64), (8, 8, 512, 64))
    for is_causal in (True, False)
)


def main(argv: list[str]) -> None:
  """Measures, prints, and writes --output."""
  run = functools.partial(gradients.run, PROBLEMS)
  timing.program(argv, layers_torch.torch, run, gradients.show)


if __name__ == "__main__":
  app.run(main)
