"""Compares runs: their curves in one figure, and a table of config differences and results.

  python -m launch.compare [--metric=loss] [--output=compare.png] [--json] DIR DIR ...
"""

import pathlib

from absl import flags

from dlx.errors import UserError
from launch.cli import output, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  flags.DEFINE_string("metric", "loss", "The metric to draw, of training and validation.")
  paths.define("output", "compare.png", "The figure.")
  output.define_flag()


def main(*workdirs: str) -> None:
  """Compares runs."""
  from dlx.reports import comparison

  if len(workdirs) < 2:
    raise UserError("name two runs or more: launch.compare DIR DIR ...")
  runs = comparison.read([pathlib.Path(workdir) for workdir in workdirs])
  try:
    comparison.draw(pathlib.Path(FLAGS.output), runs, FLAGS.metric)
  except OSError as e:
    raise UserError(f"--output={FLAGS.output} cannot be written: {e.strerror}") from None

  if FLAGS.json:
    for run in runs:
      output.print_json(comparison.summary(run, comparison.differing(runs)))
    return

  from rich.console import Console

  Console(highlight=False).print(comparison.table(runs, FLAGS.metric))
  print(f"{FLAGS.output} is written")


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
