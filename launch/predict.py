"""Classifies images or texts with a run's model.

  python -m launch.predict --workdir=DIR [--top=3] [--checkpoint=best] image.png ...
  python -m launch.predict --workdir=DIR "a text" ...
  python -m launch.predict --workdir=DIR --file=texts.txt     # one a line
"""

from collections.abc import Iterator

from absl import flags

from launch.cli import program

FLAGS = flags.FLAGS
flags.DEFINE_string("workdir", None, "Folder of the run.")
flags.DEFINE_integer("top", 3, "How many classes to print, the likeliest first.")
flags.DEFINE_string("file", None, "Texts, or names of images, one a line, read as they are used.")
flags.DEFINE_enum("checkpoint", "best", ["best", "latest"], "Which checkpoint.")


def lines(path: str) -> Iterator[str]:
  """The lines of a text file.

  Raises:
    UserError: it cannot be read.
  """
  from dlx.errors import UserError

  try:
    with open(path, encoding="utf-8") as file:
      for line in file:
        yield line.rstrip("\n")
  except (OSError, UnicodeDecodeError) as e:
    raise UserError(f"--file={path} cannot be read: {e}") from None


def main(*inputs: str) -> None:
  """Prints each image's name, or each text, with its likeliest classes."""
  import dlx
  from dlx import doctor
  from dlx.errors import UserError

  if bool(inputs) == bool(FLAGS.file):
    raise UserError(
        "nothing to classify: name images, or give texts, or --file=FILE with one a line; for "
        "example: launch.predict --workdir=DIR image.png"
        if not inputs
        else f"both --file={FLAGS.file} and {inputs[0]!r} are given; give one of them"
    )
  if FLAGS.top < 1:
    raise UserError(f"--top={FLAGS.top}: expected at least 1")
  run = dlx.load_run(program.required("workdir"), checkpoint=FLAGS.checkpoint)
  doctor.check()
  if not hasattr(run.experiment, "predict"):
    raise UserError(f"{run.config.experiment} does not predict")
  for name, classes in run.experiment.predict(run, inputs or lines(FLAGS.file), FLAGS.top):
    print(f"{name}: " + ", ".join(f"{label} {share:.1%}" for label, share in classes))


if __name__ == "__main__":
  program.run(main, positional=True)
