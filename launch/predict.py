"""Predicts with a run's model: a class, a translation, tokens for [MASK], ...

  python -m launch.predict --workdir=DIR [--top=3] [--checkpoint=best] image.png ...
  python -m launch.predict --workdir=DIR "a document" ...
  python -m launch.predict --workdir=DIR --file=documents.txt --json     # one per line
  python -m launch.predict --workdir=DIR --file=sentences.txt --width=8  # translations
  python -m launch.predict --workdir=DIR --explain "a document"          # the n-grams that decide
"""

from collections.abc import Iterator

from absl import flags

from dlx.errors import UserError
from launch.cli import opened, output, paths, program

FLAGS = flags.FLAGS
PASSED = ("top", "json", "width", "explain")  # Options of Task.predict, where it has them.


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  opened.define_flags()
  flags.adopt_module_key_flags(opened)
  flags.DEFINE_integer("top", None, "Number of predictions per line, the most probable first.")
  flags.DEFINE_bool("explain", None, "Add what decides: the n-grams with the largest weights.")
  flags.DEFINE_integer("width", None, "Beams of the search for a translation; 1 is greedy.")
  paths.define("file", None, "Documents, or names of images, one per line.")
  output.define_flag()


def lines(path: str) -> Iterator[str]:
  """The lines of a text file that are not blank, read as they are used.

  Raises:
    UserError: it cannot be read, or all lines are blank.
  """
  from dlx.data import text
  from dlx.distributed import processes

  count = blank = 0
  try:
    for line in text.lines(path):
      count += 1
      if line.strip():
        yield line
      else:
        blank += 1
  except UserError as e:
    raise UserError(f"--file={e}") from None
  if blank == count:
    raise UserError(f"--file={path} has no input: {count} lines, all of them blank")
  if blank:
    processes.notice(f"--file={path}: blank lines skipped: {blank}")


def main(*inputs: str) -> None:
  """Prints one prediction per line."""
  from dlx.training import evaluation

  if bool(inputs) == bool(FLAGS.file):
    raise UserError(
        "no input: give names of images, documents, or --file=FILE with one per line; for "
        "example: launch.predict --workdir=DIR image.png"
        if not inputs
        else f"both --file={FLAGS.file} and {inputs[0]!r} are given; give one of them"
    )
  for name in ("top", "width"):
    if FLAGS[name].value is not None and FLAGS[name].value < 1:
      raise UserError(f"--{name}={FLAGS[name].value}: expected at least 1")
  run = opened.opened_run()
  options = {}
  if run.task.predict:
    options = program.options_of(run.task.predict, PASSED, run.config.experiment)
  for line in evaluation.predict(run, inputs or lines(FLAGS.file), **options):
    if FLAGS.json:
      output.print_json(line)
    else:
      print(line)


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
