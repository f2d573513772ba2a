"""Shows what a text is taken for, and why: the words that speak for it, and the attention.

  python -m launch.explain --workdir=DIR [--output=DIR] [--checkpoint=best] "a text"

Prints the text with each word on blue ground where it speaks for the answer, red where
against it, and draws attribution.png and attention.png.
"""

import pathlib

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_string("output", None, "Folder for the pictures; that of the run when not given.")
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def main(*texts: str) -> None:
  """Explains one text."""
  import dlx
  from dlx import doctor
  from dlx.errors import UserError

  if len(texts) != 1:
    raise UserError(
        f"{len(texts)} texts are given; give one, in quotes: launch.explain --workdir=DIR "
        f'"a text"'
    )
  run = dlx.load_run(program.required("workdir"), checkpoint=FLAGS.checkpoint)
  doctor.check()
  if not hasattr(run.experiment, "explain"):
    raise UserError(f"{run.config.experiment} has no attention to show")
  folder = pathlib.Path(FLAGS.output or FLAGS.workdir)
  found = run.experiment.explain(run, texts[0])

  from rich.console import Console

  from dlx.reports import explanation

  try:
    folder.mkdir(parents=True, exist_ok=True)
    explanation.draw_words(folder / "attribution.png", found)
    explanation.draw_attention(folder / "attention.png", found)
  except OSError as e:
    raise UserError(f"{folder} cannot be written: {e.strerror}") from None
  Console(highlight=False, soft_wrap=True).print(explanation.in_terminal(found))
  print(f"{folder / 'attribution.png'} and {folder / 'attention.png'} are drawn")


if __name__ == "__main__":
  program.run(main, positional=True)
