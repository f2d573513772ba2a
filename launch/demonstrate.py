"""Demonstrates a fact of the field: a picture and its figures, computed by dlx in seconds.

  python -m launch.demonstrate                        # lists the demonstrations
  python -m launch.demonstrate gradient_norms [--output=gradient_norms.png]
  python -m launch.demonstrate contextual_vectors [--encoder=DIR] [--sentences=FILE] [--word=bank]

Each is a page of the folder demonstrations; docs/demonstrations.md shows all.
"""

import difflib
import importlib
import pathlib
import pkgutil

from absl import flags

from dlx.errors import UserError
from launch.cli import paths, program

FLAGS = flags.FLAGS


def define_flags() -> None:
  """Defines the flags: importing a program defines none."""
  paths.define("output", None, "The picture, a name that ends in .png; NAME.png by default.")
  paths.define("encoder", None, "A run with an encoder, or the folder of a published one.")
  paths.define("sentences", None, "A .csv, .tsv or .jsonl table with the columns text and sense.")
  flags.DEFINE_string("word", None, "The word whose vectors are drawn, in each of the sentences.")


def main(*names: str) -> None:
  """Writes the picture of one demonstration and prints its lines."""
  import demonstrations
  from dlx import doctor
  from dlx.reports import figures

  known = sorted(module.name for module in pkgutil.iter_modules(demonstrations.__path__))
  if not names:
    for name in known:
      print(f"{name}: {_page(name).__doc__.splitlines()[0]}")
    return
  if len(names) > 1:
    raise UserError(f"{len(names)} demonstrations are named; name one of {', '.join(known)}")
  if names[0] not in known:
    near = difflib.get_close_matches(names[0], known, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
    raise UserError(f"there is no demonstration {names[0]!r}; {hint}")
  output = pathlib.Path(FLAGS.output or f"{names[0]}.png")
  if output.suffix != ".png":
    raise UserError(f"--output={output}: expected a name that ends in .png")
  page = _page(names[0])
  options = program.options_of(page.draw, ("encoder", "sentences", "word"), names[0])
  doctor.check()
  figure, lines = page.draw(**options)
  try:
    figures.save(figure, output)
  except OSError as e:
    raise UserError(f"--output={output} cannot be written: {e.strerror}") from None
  print("\n".join([*lines, f"{output} is written"]))


def _page(name: str):
  return importlib.import_module(f"demonstrations.{name}")


if __name__ == "__main__":
  program.run(main, define_flags, positional=True)
