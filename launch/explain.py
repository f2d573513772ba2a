"""Explains a prediction: token attributions and attention maps.

  python -m launch.explain --workdir=DIR [--output=DIR] [--checkpoint=best] "a document"

Prints the words, blue where they support the prediction and red where they contradict it, and
writes attribution.png and attention.png.
"""

import pathlib

from absl import flags

from dlx.errors import UserError
from launch.cli import opened, paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  paths.define("output", None, "Folder of the figures; the run's by default.")


def main(*inputs: str) -> None:
  """Explains the prediction of one input."""
  from rich.console import Console
  from rich.text import Text

  from dlx.training.train import write_reports

  if len(inputs) != 1:
    raise UserError(
        f"{len(inputs)} inputs are given; give one, in quotes: launch.explain --workdir=DIR "
        f'"a document"'
    )
  run = opened.opened_run()
  if run.task.explain is None:
    raise UserError(f"{run.config.experiment} does not explain its predictions")
  found = run.task.explain(run.eval_variables, inputs[0])
  folder = pathlib.Path(FLAGS.output or run.workdir)
  try:
    folder.mkdir(parents=True, exist_ok=True)
    paths = write_reports(folder, {k: v for k, v in found.items() if not isinstance(v, Text)})
  except OSError as e:
    raise UserError(f"{folder} cannot be written: {e.strerror}") from None
  for value in found.values():
    if isinstance(value, Text):
      Console(highlight=False, soft_wrap=True).print(value)
  print(f"written: {', '.join(map(str, paths))}")


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
