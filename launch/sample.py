"""Samples from a run's model: text after a prompt, or images.

  python -m launch.sample --workdir=DIR [--prompt=TEXT | --prompt_file=FILE] [--length=500]
      [--temperature=0.8] [--top_k=K] [--top_p=P] [--seed=0] [--checkpoint=best]
  python -m launch.sample --workdir=DIR --output=samples.png [--count=64] [--seed=0]
"""

import itertools
import pathlib
import sys
import time

from absl import flags

from dlx.errors import UserError
from launch.cli import opened, paths, program

FLAGS = flags.FLAGS
_OPTIONS = ("prompt", "length", "temperature", "top_k", "top_p", "count")


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  flags.DEFINE_string("prompt", None, "The text to continue; a newline by default.")
  paths.define("prompt_file", None, "A file with the prompt; a line end at its end is left out.")
  flags.DEFINE_integer("length", None, "Number of tokens to draw.", upper_bound=10**7)
  flags.DEFINE_float("temperature", None, "1 draws from the model, less is sharper, 0 is argmax.")
  flags.DEFINE_integer("top_k", None, "Draw from the K most probable tokens.")
  flags.DEFINE_float("top_p", None, "Draw from the smallest set of tokens with probability P.")
  flags.DEFINE_integer("count", None, "Number of images.", upper_bound=10**4)
  paths.define("output", "samples.png", "The figure of sampled images.")
  flags.DEFINE_integer("seed", 0, "Seed of the draws.", lower_bound=0, upper_bound=2**32 - 1)


def _check() -> None:
  from dlx.layers.decoding import MAX_TEMPERATURE

  for name in ("length", "top_k", "count"):
    if (value := FLAGS[name].value) is not None and value < 1:
      raise UserError(f"--{name}={value}: expected at least 1")
  if FLAGS.temperature is not None and not 0 <= FLAGS.temperature <= MAX_TEMPERATURE:
    raise UserError(f"--temperature={FLAGS.temperature}: expected 0 to {MAX_TEMPERATURE:g}")
  if FLAGS.top_p is not None and not 0 < FLAGS.top_p <= 1:
    raise UserError(f"--top_p={FLAGS.top_p}: expected 0 < top_p <= 1")


def _read_prompt() -> None:
  from dlx.data import text

  if FLAGS.prompt_file is None:
    return
  if FLAGS.prompt is not None:
    raise UserError("both --prompt and --prompt_file are given; give one of them")
  try:
    FLAGS.prompt = text.read(FLAGS.prompt_file).removesuffix("\n").removesuffix("\r")
  except UserError as e:
    raise UserError(f"--prompt_file={e}") from None


def main() -> None:
  """Prints the prompt and its continuation as it is drawn, or writes a figure of images."""
  import jax

  _check()
  _read_prompt()
  run = opened.opened_run()
  if run.task.sample is None:
    raise UserError(f"{run.config.experiment} does not sample")
  options = program.options_of(run.task.sample, _OPTIONS, run.config.experiment)
  samples = run.task.sample(run.eval_variables, jax.random.key(FLAGS.seed), **options)
  first = next(samples)
  samples = itertools.chain([first], samples)
  if not isinstance(first, str):
    return _draw(samples)
  print(FLAGS.prompt or "", end="")
  began, drawn = time.monotonic(), -first.num_tokens if hasattr(first, "num_tokens") else None
  for piece in samples:
    print(piece, end="", flush=True)
    if drawn is not None:
      drawn += piece.num_tokens
  print()
  if drawn:  # The first piece was compiled, too.
    print(f"{drawn / (time.monotonic() - began):,.0f} tokens/s", file=sys.stderr)


def _draw(images) -> None:
  from dlx.reports import figures

  try:
    print(figures.save(figures.image_grid(list(images)), pathlib.Path(FLAGS.output)))
  except (OSError, ValueError) as e:  # matplotlib does not know the suffix.
    raise UserError(f"--output={FLAGS.output} cannot be written: {e}") from None


if __name__ == "__main__":
  program.run(main, define_flags)
